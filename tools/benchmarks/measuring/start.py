"""Measure how a run starts on a list or a folder of millions of images without labels."""

import gc
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import fastreid_ext  # isort: skip  # noqa: F401  first, in spawned processes too

import cv2

from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.image_check import unreadable_images
from fastreid_ext.data.image_files import images_below
from fastreid_ext.data.item_arrays import TextArray
from fastreid_ext.data.preflight import preflight
from measuring.corruptions import person_like
from measuring.own_process import measured_alone
from measuring.scale import paths

RECIPE = "projects/DAPG/configs/LUPerson/dapg_stage1_R50.yml"
_FILES_PER_FOLDER = 1000
_RESUMED_EPOCH = 299  # of 300


def measured_start(count: int, length: int, recipe: str = RECIPE) -> dict[str, float]:
    """Measure in a process of its own how a run starts on a text file that lists images.

    No image exists, so ``DATASETS.PREFLIGHT`` is off; what "headers" adds is the opening of files.

    Args:
        count: number of listed images.
        length: bytes in a path.
        recipe: configuration file with ``UnlabelledPersons``.

    Returns:
        Seconds of each part of a start by its name, and as "peak GB" the largest resident memory
        beyond that before the start.
    """
    return measured_alone(_starter, count, length, recipe)


def _starter(pipe: Connection, count: int, length: int, recipe: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.txt"
        with open(file, "w") as opened:
            opened.writelines(f"{path}\n" for path in paths(count, length))
        overrides = ["DATASETS.FOLDER", str(file), "DATASETS.TESTS", "()", "MODEL.DEVICE", "cpu"]
        overrides += ["DATASETS.PREFLIGHT", "off", "SEED", "0", "DATALOADER.NUM_WORKERS", "0"]
        overrides += ["SOLVER.AMP.ENABLED", "False"]
        cfg = load_config(recipe, overrides)
        found: dict[str, float] = {}
        gc.collect()
        before = _resident_gigabytes("VmRSS")
        with _timed(found, "check"):
            preflight(cfg).raise_if_not_ok()
        with _timed(found, "list"):
            training = training_items(cfg)
        with _timed(found, "loader"):
            loader = build_train_loader(cfg, training)
        with _timed(found, "first image"):
            next(iter(loader.stream_sampler))
        with _timed(found, f"image of epoch {_RESUMED_EPOCH}"):
            loader.stream_sampler.skip_to(_RESUMED_EPOCH * count + count // 2)
            next(iter(loader.stream_sampler))
        found["peak GB"] = _resident_gigabytes("VmHWM") - before
    pipe.send(found)


@contextmanager
def _timed(found: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    found[name] = time.perf_counter() - began


def _resident_gigabytes(what: str) -> float:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{what}:\s+(\d+) kB", text, re.M)[1]) / 1e6


def measured_folder(count: int) -> tuple[float, float]:
    """Measure the listing of a folder of small JPEG files, a thousand in a sub-folder.

    Args:
        count: number of files, which are written to the folder of temporary files.

    Returns:
        Seconds to list them, and to open them as ``DATASETS.PREFLIGHT`` headers does, in one
        process.
    """
    with tempfile.TemporaryDirectory() as folder:
        _, data = cv2.imencode(".jpg", person_like(64, 32, 0))
        for first in range(0, count, _FILES_PER_FOLDER):
            below = Path(folder) / f"{first // _FILES_PER_FOLDER:07d}"
            below.mkdir()
            for number in range(first, min(first + _FILES_PER_FOLDER, count)):
                (below / f"{number:09d}.jpg").write_bytes(data.tobytes())
        began = time.perf_counter()
        found = TextArray.of(images_below(folder))
        listed = time.perf_counter() - began
        began = time.perf_counter()
        broken = unreadable_images(found, decode=False, workers=0)
        opened = time.perf_counter() - began
    if len(found) != count or broken:
        raise ValueError(
            f"expected {count} images in the folder, got {len(found)}, {len(broken)} of them "
            "unreadable; is the disk full?"
        )
    return listed, opened
