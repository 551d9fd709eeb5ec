"""Extract features of all training images with the current weights, transformed as test images."""

import math

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.data.build import build_items_loader
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.engine.modes import modes_kept
from fastreid_ext.evaluation.features import batch_features
from fastreid_ext.processes import process_count, rows_of_all


class TrainingFeatures:
    """Extracts features of the training images, without augmentation.

    Every process extracts those of its share; all get all of them.

    Args:
        cfg: configuration of the run, with the keys of test images.
        model: model from a batch to features (B, D) in evaluation mode. Its method
            ``training_features``, where it has one, is called instead; it may return several
            features (B, S, D) of each image, the first of which is clustered.
        items: (path, pid, camid) of each of N images.
        name: name of these images in ``DATALOADER.PACKED_CACHE``.

    Raises:
        ValueError: there are too few images for the processes.
    """

    def __init__(
        self, cfg: CfgNode, model: nn.Module, items: ItemArrays, *, name: str = "train"
    ) -> None:
        self._model = model
        self._count = len(items)
        self._share = images_of_each(len(items), process_count())
        self._loader = build_items_loader(cfg, items, name=name)

    @torch.no_grad()
    def extract(self) -> Tensor:
        """Extract features of all images in their order, equal on all processes.

        Returns:
            (N, D) features, or (N, S, D) of a model with several of each image.
        """
        rows: Tensor | None = None
        done = 0
        extract = getattr(self._model, "training_features", self._model)
        with modes_kept(self._model):
            self._model.eval()
            for batch in self._loader:
                features = batch_features(extract, batch, flip=False)
                if rows is None:
                    rows = features.new_zeros(self._share, *features.shape[1:])
                rows[done : done + len(features)] = features
                done += len(features)
        return rows_of_all(rows)[: self._count]


def images_of_each(images: int, processes: int) -> int:
    """Divide images among processes as the sampler of test sets does; the last may get fewer.

    Example:
        >>> images_of_each(10, 4)
        3

    Args:
        images: number of images, of all processes together.
        processes: number of processes that share them.

    Returns:
        Number of images of each process but the last.

    Raises:
        ValueError: a process would get no image.
    """
    share = math.ceil(images / processes)
    if share * (processes - 1) >= images:
        raise ValueError(
            f"expected images for each of {processes} processes, got {images} in all, {share} for "
            "each process, so that the last one has none; train with fewer processes"
        )
    return share
