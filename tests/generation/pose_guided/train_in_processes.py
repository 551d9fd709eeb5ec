"""Script of test_training_processes.py, which two processes run: train, and record each step."""

import sys
from pathlib import Path

import fastreid_ext  # noqa: F401  before fastreid
from fastreid_ext.config import load_config
from fastreid_ext.generation.pose_guided import training


def train(configuration: Path) -> None:
    """Train with the loss of every step in metrics.jsonl, and save the last state."""
    training._REPORT_EVERY = 1
    training.Training._finish = training.Training._save
    training.train_generator(load_config(configuration))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
