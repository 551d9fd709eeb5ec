"""Training and evaluation of a configuration."""

from fastreid_ext.engine.run import UnfitDataError, evaluate, load_model, train
from fastreid_ext.engine.trainer import Trainer

__all__ = ["Trainer", "UnfitDataError", "evaluate", "load_model", "train"]
