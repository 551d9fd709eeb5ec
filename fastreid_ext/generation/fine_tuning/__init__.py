"""Learn persons by it: adapters of several at once, or the whole model for each."""
