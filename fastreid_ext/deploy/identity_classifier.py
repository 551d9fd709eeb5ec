"""Which identity of its training a model takes an image for.

Letters: N images, C identities of the training, h heads with a classifier.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from numpy.typing import NDArray
from torch import Tensor, nn

from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.deploy.feature_extractor import AnyImage, as_image
from fastreid_ext.deploy.load import (
    Config,
    classes_of,
    fingerprint_of,
    is_classifier,
    ready_config,
    ready_model,
)


class IdentityClassifier:
    """A trained model that turns images into probabilities of the identities it was trained on.

    Example::

        classify = IdentityClassifier("demo/train/config.yaml", "demo/train/model_final.pth")
        probabilities = classify(["a.jpg", "b.jpg"])  # (2, identities) float32
        classify.identities[probabilities[0].argmax()]  # e.g. "renderedcampus_2"

    Args:
        config: a YAML file (a recipe, or the ``config.yaml`` of a run) or a configuration. Its
            DATASETS say which identity a class is, so the training images must be there.
        weights: a checkpoint of that configuration.
        device: "cpu", "cuda", "cuda:1"; None: MODEL.DEVICE.
        overrides: KEY VALUE pairs, as in ``load_config``.

    Attributes:
        identities: name of each class in fastreid's training items, e.g. "renderedcampus_2".
        fingerprint: 12 hexadecimal digits of configuration and weights.

    Raises:
        FileNotFoundError: configuration, checkpoint or training images do not exist.
        ValueError: a mistake in the configuration, a checkpoint of another model, without a
            classifier, or of other identities.
    """

    def __init__(
        self,
        config: Config,
        weights: str | Path,
        *,
        device: str | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        cfg = ready_config(config, device=device, overrides=overrides)
        self.fingerprint = fingerprint_of(cfg, weights)
        self.identities = persons_of_training(cfg)
        _expect_classes(weights, self.identities, cfg)
        cfg.defrost()
        cfg.MODEL.HEADS.NUM_CLASSES = len(self.identities)  # a recipe leaves it to the training
        cfg.freeze()
        self._device = cfg.MODEL.DEVICE
        self._model = ready_model(cfg, weights)
        self._transform = build_transforms(cfg, is_train=False)
        self._batch_size = max(1, cfg.TEST.IMS_PER_BATCH)
        self._heads = _heads_with_classifier(self._model)
        self._maps: dict[int, Tensor] = {}
        for number, head in enumerate(self._heads):
            head.register_forward_pre_hook(self._keeper(number))

    def __call__(self, images: Sequence[AnyImage]) -> NDArray[np.float32]:
        """Return probabilities (N, C) of image files or of arrays (H, W, 3) uint8 RGB in [0, 255].

        The softmax of the logits without margin; of a model with several classifiers (MGN, BDB)
        the mean of theirs.

        Raises:
            ValueError: an array of another type or shape, or probabilities of NaN.
            OSError: a file that cannot be read.
        """
        parts = [np.empty((0, len(self.identities)), np.float32)]
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            tensors = [self._transform(as_image(image)) for image in batch]
            parts.append(self._probabilities(torch.stack(tensors)).cpu().numpy())
        probabilities = np.concatenate(parts)
        if not np.isfinite(probabilities).all():
            raise ValueError(
                "expected finite probabilities, got NaN; did training diverge? Choose another "
                "checkpoint"
            )
        return probabilities

    @torch.no_grad()
    def _probabilities(self, images: Tensor) -> Tensor:
        self._model({"images": images.to(self._device)})
        logits = [_logits(head, self._maps[n]) for n, head in enumerate(self._heads)]
        self._maps.clear()
        return torch.stack([part.float().softmax(dim=1) for part in logits]).mean(dim=0)

    def _keeper(self, number: int) -> Any:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._maps[number] = inputs[0]

        return keep


def persons_of_training(cfg: CfgNode) -> list[str]:
    """Return the person of each class: training counts them in the order of their names.

    Raises:
        FileNotFoundError: a data set of DATASETS.NAMES is not there.
        ValueError: it has no training images.
    """
    return sorted({person for _, person, _ in training_items(cfg).items})


def _expect_classes(weights: str | Path, persons: Sequence[str], cfg: CfgNode) -> None:
    classes = classes_of(weights)
    if classes == 0:
        raise ValueError(
            f"{weights} holds no classifier of identities, as of a model trained without one; give "
            "a model trained with CrossEntropyLoss"
        )
    if classes != len(persons):
        raise ValueError(
            f"{weights} tells {classes} identities apart, but the training images of its "
            f"configuration ({', '.join(cfg.DATASETS.NAMES)}) show {len(persons)}; give the "
            "config.yaml of that run (NAMES, SUBSET) and the DATASETS.ROOT it used"
        )


def _heads_with_classifier(model: nn.Module) -> list[nn.Module]:
    names = [name for name, _ in model.named_parameters() if is_classifier(name)]
    return [model.get_submodule(name.rpartition(".")[0]) for name in names]


def _logits(head: nn.Module, features: Tensor) -> Tensor:
    """Return the logits (N, C) of a head, whose evaluation gives features alone.

    Only the head itself is told that it trains; its normalisations stay in evaluation mode.
    """
    takes_targets = "targets" in inspect.signature(head.forward).parameters
    # Margins change the entry of the target in another output than the one read here.
    targets = [torch.zeros(len(features), dtype=torch.long, device=features.device)]
    head.training = True
    try:
        return head(features, *targets[:takes_targets])["pred_class_logits"]
    finally:
        head.training = False
