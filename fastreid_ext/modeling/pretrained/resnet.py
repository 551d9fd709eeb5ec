"""ResNet and ResNeXt of torchvision, timm and IBN-Net.

======================================== ==========================================
in the file                              in fastreid's network
======================================== ==========================================
``conv1.weight``, ``bn1.*``              unchanged
``layer1.0.conv1.weight``, ``.bn1.*``    unchanged
``layer1.0.downsample.0.weight``         unchanged
``layer1.0.bn1.IN.*``, ``.BN.*``         unchanged (IBN-Net's files, ``WITH_IBN``)
``fc.weight``, ``fc.bias``               left out
======================================== ==========================================

A prefix of all names (``backbone.``, ``base.``, VirTex's ``visual.cnn.``) is removed. Such a file
lacks fastreid's own layers: non-local blocks (``NL_2.0.*``), and instance-batch normalisation or
squeeze-and-excitation unless it was trained with them. They keep their random weights.

The networks differ in one layer without weights: fastreid's max-pooling rounds up instead of
padding (``resnet.py``), so its maps are shifted by one pixel of the second stage.
"""

from torch import nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, prefix_of, split
from fastreid_ext.modeling.pretrained.normalisation import IMAGENET

MARKER = "layer1.0.conv1.weight"
# One for each kind of layer that a file may lack: non-local, instance-batch norm, squeeze-excite.
OPTIONAL = (r"^NL_\d", r"\.bn\d\.(IN|BN)\.", r"\.se\.")
# With the projection heads of contrastive pre-training (PNL: fc1, fc2, embed_fc).
_CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.", "fc1.", "fc2.", "embed_fc.")


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a ResNet."""
    prefix = prefix_of(MARKER, tensors)
    return prefix is not None and f"{prefix}conv1.weight" in tensors


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Remove the prefix, the classifier, and norms that the backbone replaces by IBN."""
    own, dropped = split(tensors, prefix_of(MARKER, tensors) or "", without=_CLASSIFIERS)
    warnings = []
    ours = backbone.state_dict()
    if "layer1.0.bn1.IN.weight" in ours and "layer1.0.bn1.weight" in own:
        own_norms = [name for name in own if ".bn1." in name and name not in ours]
        dropped += own_norms
        own = {name: value for name, value in own.items() if name not in own_norms}
        warnings.append(
            "the backbone has WITH_IBN, the file has none: the first norm of each of those blocks "
            "starts new; IBN-Net's weights (resnet50_ibn_a, ...) hold them"
        )
    return Renamed(own, dropped, warnings=warnings)


FAMILY = Family(
    name="resnet",
    title="a ResNet (torchvision, timm or IBN-Net)",
    recognises=recognises,
    renamed=renamed,
    normalisations=lambda tensors: (IMAGENET,),
    optional=OPTIONAL,
)
