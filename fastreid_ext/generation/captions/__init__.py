"""What a person wears, carries and does, in words: captioner, captions, prompts."""
