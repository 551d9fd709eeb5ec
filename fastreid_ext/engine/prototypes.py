"""Rebuilding of the prototypes of all identities at the start of every epoch."""

import logging
import time

import torch
from fastreid.config import CfgNode
from fastreid.engine.hooks import HookBase
from torch import nn

from fastreid_ext.engine.training_features import TrainingFeatures

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
        dataset = self.trainer.data_loader.dataset
        self._features = TrainingFeatures(self._cfg, self._model, dataset.img_items)

    def before_epoch(self) -> None:
        """Extract the features of all training images and set the prototypes.

        Raises:
            ValueError: an identity has no image with finite features.
        """
        began = time.perf_counter()
        features = self._features.extract()
        targets = torch.as_tensor(self.trainer.data_loader.dataset.targets, device=features.device)
        is_used = targets >= 0
        self._model.memory.rebuild(features[is_used], targets[is_used])
        seconds = time.perf_counter() - began
        logger.info("prototypes rebuilt from %d images in %.1f s", len(features), seconds)
