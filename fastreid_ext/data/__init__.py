"""From files to batches: data sets, sampling, loaders, and checks before training."""
