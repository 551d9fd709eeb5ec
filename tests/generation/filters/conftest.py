"""A planted set: identities are colours, and the model's feature is the mean colour."""

import cv2
import numpy as np
import pytest

from fastreid_ext.config import load_config
from fastreid_ext.manifest import (
    GeneratedImage,
    GeneratedSet,
    sha256_of,
    write_identity,
    write_set,
)

COLOURS = {1: (220, 40, 30), 2: (30, 200, 60), 3: (40, 50, 210)}
KINDS = ("good", "good", "wrong", "garbage")


def picture(colour, rng):
    """A person-sized image of a colour, lighter to one side, with noise."""
    ramp = np.linspace(0.5, 1, 32).reshape(32, 1, 1) * rng.uniform(0.8, 1)
    noise = rng.normal(0, 12, (32, 16, 3))
    return np.clip(ramp * np.array(colour) + noise, 0, 255).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[:, :, ::-1])


@pytest.fixture(scope="module")
def real_images(tmp_path_factory):
    """A folder like Market-1501's: four real images of each of three identities."""
    root = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    for pid, colour in COLOURS.items():
        for number in range(4):
            name = f"{pid:04d}_c{number % 2 + 1}s1_{number:06d}_00.png"
            save(root / "bounding_box_train" / name, picture(colour, rng))
    return root


def plant(images):
    """Two good images of each identity, one of another identity, one of noise."""
    rng = np.random.default_rng(1)
    for pid, colour in COLOURS.items():
        folder = images / f"PersonFolder_{pid:04d}"
        made = {
            "good": lambda colour=colour: picture(colour, rng),
            "wrong": lambda pid=pid: picture(COLOURS[pid % 3 + 1], rng),
            "garbage": lambda: rng.integers(0, 256, (32, 16, 3), dtype=np.uint8),
        }
        rows = []
        for number, kind in enumerate(KINDS):
            save(folder / f"{number}.png", made[kind]())
            rows.append(row(folder / f"{number}.png", pid, kind))
        write_identity(folder, rows)
    write_set(images, GeneratedSet(generator="planted", counts={"ok": 12}))


def row(path, pid, kind, **fields):
    return GeneratedImage(
        file_name=path.name,
        source_dataset="PersonFolder",
        person_id=pid,
        seed=0,
        model_ids=("planted@0",),
        conditions={"kind": kind},
        sha256=sha256_of(path),
        **fields,
    )


class Colours:
    """Mean colour, less its mean: the feature of a very small Re-ID model."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        means = np.stack([image.mean(axis=(0, 1)) for image in images])
        return (means - means.mean(axis=1, keepdims=True)).astype(np.float32)


class WhichColour(Colours):
    """Softmax of the similarity to the three colours."""

    identities = tuple(f"personfolder_{pid}" for pid in COLOURS)

    def __call__(self, images):
        wanted = np.array(list(COLOURS.values()), dtype=np.float32)
        wanted -= wanted.mean(axis=1, keepdims=True)
        logits = super().__call__(images) @ wanted.T / 2000
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


class Opened:
    """Opens a model and counts how often."""

    def __init__(self, kind):
        self.model = kind()
        self.times = 0

    def __call__(self):
        self.times += 1
        return self.model


@pytest.fixture
def job(tmp_path, real_images):
    plant(tmp_path / "images")
    return tmp_path


@pytest.fixture
def cfg(job, real_images):
    def make(*keys):
        own = ["MODEL.DEVICE", "cpu", "DATASETS.NAMES", "('PersonFolder',)"]
        own += ["DATASETS.FOLDER", str(real_images), "OUTPUT_DIR", str(job)]
        use = dict(zip(keys[::2], keys[1::2], strict=True)).get("USE", "reid")
        keys = ("REID.RULE", "percentile", *keys) if "reid" in str(use) else keys
        prefixed = [f"GENERATION.FILTER.{k}" if n % 2 == 0 else k for n, k in enumerate(keys)]
        return load_config("", [*own, *prefixed])

    return make


@pytest.fixture
def models():
    return {"reid": ("r1", Opened(Colours)), "cctf": ("c1", Opened(WhichColour))}
