"""Pictures of runs and models, one module each; every function named ``plot_*`` writes one PNG."""
