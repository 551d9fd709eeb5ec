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
    """

    def __init__(
        self, cfg: CfgNode, model: nn.Module, items: ItemArrays, *, name: str = "train"
    ) -> None:
        self._model = model
        self._count = len(items)
        self._loader = build_items_loader(cfg, items, name=name)

    @torch.no_grad()
    def extract(self) -> Tensor:
        """Extract features of all images in their order, equal on all processes.

        Returns:
            (N, D) features, or (N, S, D) of a model with several of each image.
        """
        share = math.ceil(self._count / process_count())  # as the sampler of test sets
        rows: Tensor | None = None
        done = 0
        extract = getattr(self._model, "training_features", self._model)
        with modes_kept(self._model):
            self._model.eval()
            for batch in self._loader:
                features = batch_features(extract, batch, flip=False)
                if rows is None:
                    rows = features.new_zeros(share, *features.shape[1:])
                rows[done : done + len(features)] = features
                done += len(features)
        return rows_of_all(rows)[: self._count]
