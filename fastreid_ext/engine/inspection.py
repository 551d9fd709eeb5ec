"""Load a trained model and the features of a test set, for tools that plot or evaluate them."""

import argparse
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.transforms import build_transforms
from PIL import Image
from torch import nn
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write, expect_writable
from fastreid_ext.config import FROM_CHECKPOINT, load_config
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.engine.run import load_model
from fastreid_ext.evaluation.features import TestFeatures, extract_features
from fastreid_ext.names import unknown_name
from fastreid_ext.pictures.png import expect_png

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A configuration, a checkpoint of it and a test set.

    Attributes:
        cfg: checked configuration; ``PRETRAIN`` is off, the checkpoint holds the backbone.
        weights: checkpoint file of the model.
        dataset: name of a registered data set.
        output: name of the PNG to write.
        cache: ``.npz`` to keep the features in, or None.
    """

    cfg: CfgNode
    weights: Path
    dataset: str
    output: Path
    cache: Path | None = None

    def model(self) -> nn.Module:
        """Return the model in evaluation mode; errors as :func:`load_model`."""
        return load_model(self.cfg, self.weights).eval()

    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        """Build the transform that the test loader applies to an image."""
        return build_transforms(self.cfg, is_train=False)

    def features(self) -> TestFeatures:
        """Return the features of the test set, from ``cache`` if they are there.

        Raises:
            FileNotFoundError: the checkpoint or the data set is missing.
            ValueError: the checkpoint is of another model, or the cache of another checkpoint.
        """
        if self.cache is None or not self.cache.is_file():
            test = features_of(self.cfg, self.weights, self.dataset)
            if self.cache is not None:
                _keep(test, self.cache, self._origin())
            return test
        return _kept(self.cache, self._origin())

    def _origin(self) -> str:
        """Name everything the features depend on."""
        status = self.weights.stat()
        cfg = self.cfg
        keys = (cfg.MODEL, cfg.INPUT, cfg.TEST.FLIP, cfg.DATASETS.ROOT)
        settings = hashlib.sha256("".join(map(str, keys)).encode()).hexdigest()[:16]
        return json.dumps(
            {
                "weights": str(self.weights.resolve()),
                "bytes": status.st_size,
                "modified": status.st_mtime_ns,
                "dataset": self.dataset,
                "settings": settings,
            }
        )


def features_of(cfg: CfgNode, weights: str | Path, dataset: str) -> TestFeatures:
    """Return the features of a test set as the evaluation sees them, ``TEST.FLIP`` included."""
    model = load_model(cfg, weights)
    loader, num_query = build_test_loader(cfg, dataset)
    batches = tqdm(loader, desc=dataset, unit="batch")
    return extract_features(model, batches, num_query, flip=cfg.TEST.FLIP.ENABLED)


def inspection(args: argparse.Namespace) -> Inspection:
    """Check the arguments of a command that looks at a trained model.

    Args:
        args: ``config_file``, ``opts``, ``weights``, ``dataset``, ``output``, ``features`` (None
            for none) and ``picture``, the beginning of the default file name.

    Raises:
        FileNotFoundError: the configuration or the checkpoint does not exist.
        ValueError: no weights, an unknown data set, an output that is not a PNG, or a mistake in
            the configuration.
    """
    cfg = configuration_of_checkpoint(args)
    weights, dataset = checkpoint_and_test_set(cfg, args.weights, args.dataset)
    output = args.output or weights.parent / f"{args.picture}_{dataset}.png"
    if args.features:
        expect_writable(args.features)
    return Inspection(cfg, weights, dataset, expect_png(output), args.features)


def configuration_of_checkpoint(args: argparse.Namespace) -> CfgNode:
    """Load the configuration of ``--config-file`` for the checkpoint of ``--weights``.

    Weight files with which the run of that configuration began are not asked for.

    Raises:
        FileNotFoundError, ValueError: as ``load_config``.
    """
    pairs = [*FROM_CHECKPOINT, *(["MODEL.WEIGHTS", ""] if args.weights else [])]
    return load_config(args.config_file, [*args.opts, *pairs])


def checkpoint_and_test_set(
    cfg: CfgNode, weights: str | None, dataset: str | None
) -> tuple[Path, str]:
    """Choose the checkpoint and the test set: those named by the user, else the configuration's.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: no weights, no test set, or an unknown data set.
    """
    weights = weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("expected a checkpoint, got none; add --weights <run>/model_final.pth")
    if not dataset and not cfg.DATASETS.TESTS:
        raise ValueError("expected a test set, got an empty DATASETS.TESTS; add --dataset NAME")
    dataset = expect_data_set(dataset or cfg.DATASETS.TESTS[0])
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; give an existing one as --weights")
    return path, dataset


def expect_data_set(name: str) -> str:
    """Return the name of a registered data set; ValueError for another."""
    known = list(DATASET_REGISTRY._obj_map)
    if name not in known:
        raise ValueError(unknown_name("--dataset", name, known))
    return name


def _keep(test: TestFeatures, path: Path, origin: str) -> None:
    with atomic_write(path) as file:
        np.savez(
            file,
            features=test.features.numpy(),
            pids=test.pids,
            camids=test.camids,
            paths=np.array(test.paths),
            num_query=test.num_query,
            origin=origin,
        )


def _kept(path: Path, origin: str) -> TestFeatures:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        kept = str(content.pop("origin"))
    except Exception as error:  # zipfile, numpy and the missing key raise five kinds
        raise ValueError(
            f"{path} is not a features file of these tools ({error}); remove it or choose another"
        ) from error
    if kept != origin:
        raise ValueError(
            f"{path} holds the features of another checkpoint, data set or configuration: expected "
            f"{origin}, got {kept}; remove it or choose another --features file"
        )
    content["features"] = torch.from_numpy(content["features"])
    content["paths"] = content["paths"].tolist()
    content["num_query"] = int(content["num_query"])
    return TestFeatures(**content)
