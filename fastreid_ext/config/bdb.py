"""Names that came with Batch DropBlock: its sampler and its learning rate."""

ONCE_PER_IDENTITY = "OncePerIdentitySampler"
STAIRS = "StairWarmupLR"
