"""Measurement of the Re-ID filter for ``tools/benchmarks/captions_and_filter.py``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model

from fastreid_ext.config import load_config
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.scoring import Opener
from fastreid_ext.generation.filters.whole_set import TOGETHER
from fastreid_ext.manifest import GeneratedImage, sha256_of, write_identity
from measuring.stage_figures import StageFigures, measure_stage

_DATA_SET = "PersonFolder"
_SIZE = (256, 128)  # H, W of generated images


def save_random_reid(recipe: Path, folder: Path, keys: Sequence[str]) -> tuple[Path, Path]:
    """Write configuration (with KEY VALUE pairs) and checkpoint of a model with random weights."""
    own = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.HEADS.NUM_CLASSES"]
    cfg = load_config(recipe, [*keys, *own, "2", "SOLVER.AMP.ENABLED", "False"])
    config = folder / "config.yaml"
    weights = folder / "model_final.pth"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(cfg.dump())
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    return config, weights


def write_random_job(output: Path, *, persons: int, images: int) -> list[str]:
    """Write images of noise as the generated ones of a job, and two real images of each identity.

    Returns:
        KEY VALUE pairs of the job.
    """
    rng = np.random.default_rng(0)
    real_images = output / "real_images"
    for person in range(1, persons + 1):
        for number in range(2):
            name = f"{person:04d}_c1s1_{number:06d}_00.jpg"
            _write_noise(real_images / "bounding_box_train" / name, rng)
        folder = output / "images" / f"{_DATA_SET}_{person:04d}"
        rows = []
        for number in range(images):
            _write_noise(folder / f"{number:03d}.jpg", rng)
            row = GeneratedImage(
                file_name=f"{number:03d}.jpg",
                source_dataset=_DATA_SET,
                person_id=person,
                seed=number,
                model_ids=("noise@0",),
                sha256=sha256_of(folder / f"{number:03d}.jpg"),
            )
            rows.append(row)
        write_identity(folder, rows)
    keys = ["DATASETS.NAMES", f"('{_DATA_SET}',)", "DATASETS.FOLDER", str(real_images)]
    return [*keys, "OUTPUT_DIR", str(output)]


def measure_filtering(cfg: CfgNode, models: Mapping[str, tuple[str, Opener]]) -> StageFigures:
    """Score the generated images of a job: a group to warm up, then all others.

    On a GPU half of the others are timed; of the other half the device's busy share is taken.

    Args:
        cfg: full configuration of the job.
        models: name and loader of each filter's model, from ``filter_models``.
    """
    run = FilterRun(cfg, models)
    device = torch.device(cfg.MODEL.DEVICE)
    names = run.names()
    work = run.open_work()
    groups = iter([names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)])
    work(next(groups))
    count = (len(names) // TOGETHER - 1) // (2 if device.type == "cuda" else 1)
    images = count * sum(1 for name in names[:TOGETHER] for _ in (run.images / name).glob("*.jpg"))

    def score() -> None:
        for _ in range(count):
            work(next(groups))

    return measure_stage(device, score, images)


def _write_noise(path: Path, rng: np.random.Generator) -> None:
    """Write coarse noise, a JPEG file of about the size of a photograph's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (16, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, _SIZE[::-1], interpolation=cv2.INTER_CUBIC))
