"""The whole job: stages, resuming, workers, its folder."""
