"""Rebuilding of the prototypes of all identities at the start of every epoch."""

import logging
import math
import time

import torch
from fastreid.config import CfgNode
from fastreid.engine.hooks import HookBase
from torch import Tensor, nn

from fastreid_ext.data.build import build_items_loader
from fastreid_ext.engine.modes import modes_kept
from fastreid_ext.evaluation.features import batch_features
from fastreid_ext.processes import process_count, rows_of_all

logger = logging.getLogger(__name__)


class PrototypeRebuild(HookBase):
    """Rebuild a model's ``memory`` from the training images, as a test set is seen.

    Every process extracts the features of its share; all get all of them, so that their memories
    are equal. Images that a method leaves out (label -1) do not count.

    Args:
        cfg: configuration of the run, with the keys of test images.
        model: model with a :class:`~fastreid_ext.modeling.losses.PrototypeMemory` as ``memory``.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        self._cfg = cfg
        self._model = model

    def before_train(self) -> None:
        """Build the loader of the training images without augmentation."""
        self._items = self.trainer.data_loader.dataset.img_items
        self._loader = build_items_loader(self._cfg, self._items, name="train")

    def before_epoch(self) -> None:
        """Extract the features of all training images and set the prototypes.

        Raises:
            ValueError: an identity has no image with finite features.
        """
        began = time.perf_counter()
        features = self._features()
        targets = torch.as_tensor(self.trainer.data_loader.dataset.targets, device=features.device)
        is_used = targets >= 0
        self._model.memory.rebuild(features[is_used], targets[is_used])
        seconds = time.perf_counter() - began
        logger.info("prototypes rebuilt from %d images in %.1f s", len(features), seconds)

    @torch.no_grad()
    def _features(self) -> Tensor:
        """Extract features (M, D) of all images in their order, equal on all processes."""
        memory = self._model.memory.prototypes
        share = math.ceil(len(self._items) / process_count())  # as the sampler of test sets
        rows = memory.new_zeros(share, memory.shape[1])
        done = 0
        with modes_kept(self._model):
            self._model.eval()
            for batch in self._loader:
                features = batch_features(self._model, batch, flip=False)
                rows[done : done + len(features)] = features
                done += len(features)
        return rows_of_all(rows)[: len(self._items)]
