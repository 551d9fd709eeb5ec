"""Pictures of runs and models, one module each; every function named ``draw_*`` writes one PNG."""
