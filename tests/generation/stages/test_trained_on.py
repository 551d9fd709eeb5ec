"""A job's images are trained on by the documents' own command, its defaults included."""

import shlex
from pathlib import Path

import numpy as np

from fastreid_ext.config import load_config
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.engine.run import train

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "generated_sets.md"

# The tiny job's folder instead of Market-1501, and sizes of seconds.
SMALL = {
    "DATASETS.NAMES": "('PersonFolder', 'GeneratedPersons')",
    "DATASETS.TESTS": "()",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.WITH_NL": "False",
    "MODEL.BACKBONE.PRETRAIN": "False",
    "MODEL.BACKBONE.PRETRAIN_PATH": "",
    "INPUT.SIZE_TRAIN": "[32, 16]",
    "SOLVER.MAX_EPOCH": "1",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.AMP.ENABLED": "False",
    "DATALOADER.NUM_WORKERS": "0",
    "SEED": "0",
}


def command():
    """Read the arguments of the page's command for a generated set beside a real one."""
    (line,) = [line for line in PAGE.read_text().splitlines() if "GENERATED.ROOTS" in line]
    words = shlex.split(line)
    assert words[:3] == ["python", "tools/train_net.py", "--config-file"]
    file, *pairs = words[3:]
    return ROOT / file, dict(zip(pairs[::2], pairs[1::2], strict=True))


def test_command_of_the_page_trains_on_a_generated_set(whole, market, tmp_path):
    output, _ = whole
    file, keys = command()
    assert "DATASETS.GENERATED.CAMERA_RULE" not in keys  # the default fits
    keys |= SMALL | {
        "DATASETS.FOLDER": str(market),
        "DATASETS.GENERATED.ROOTS": f"['{output / 'images'}']",
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = load_config(str(file), [word for pair in keys.items() for word in pair])
    training = training_items(cfg)
    assert 0 < np.sum(training.is_generated) < len(training.items)
    train(cfg)
    assert (tmp_path / "model_final.pth").is_file()
