"""The transforms of a configuration: fastreid's list, with ours put in at named places."""

from fastreid.config import CfgNode
from fastreid.data.transforms import ToTensor
from fastreid.data.transforms import build_transforms as host_transforms
from torchvision.transforms import Compose

from fastreid_ext.data.transforms.cutout import Cutout


def build_transforms(cfg: CfgNode, *, is_train: bool) -> Compose:
    """Return what maps an RGB PIL image to a float tensor (3, H, W) in [0, 255].

    The order is fastreid's: auto-augmentation, resize, crop, padding, flip, colour jitter, affine,
    AugMix, *to tensor*, random erasing, random patch. Ours come directly after *to tensor*:
    Cut-out. Normalisation is the model's first step, so the value 0 of a normalised image is the
    colour ``MODEL.PIXEL_MEAN`` here.
    """
    steps = list(host_transforms(cfg, is_train=is_train).transforms)
    if is_train:
        after = next(i for i, step in enumerate(steps) if isinstance(step, ToTensor)) + 1
        steps[after:after] = _on_the_tensor(cfg)
    return Compose(steps)


def _on_the_tensor(cfg: CfgNode) -> list[Cutout]:
    cutout = cfg.INPUT.CUTOUT
    if not cutout.ENABLED:
        return []
    rows, columns = cutout.SIZE
    return [Cutout(probability=cutout.PROB, size=(rows, columns), fill=cfg.MODEL.PIXEL_MEAN)]
