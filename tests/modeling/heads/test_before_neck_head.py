"""BeforeNeckHead beside fastreid's head."""

import torch
from fastreid.modeling.heads import build_heads

from fastreid_ext.config import load_config


def head(name):
    keys = ["MODEL.HEADS.NAME", name, "MODEL.HEADS.WITH_BNNECK", True, "MODEL.HEADS.NUM_CLASSES", 3]
    torch.manual_seed(0)
    return build_heads(load_config("", ["MODEL.DEVICE", "cpu", *keys]))


def test_before_neck_head_evaluates_the_pooled_feature():
    ours = head("BeforeNeckHead")
    hosts = head("EmbeddingHead")
    maps = torch.randn(4, 2048, 3, 2)
    targets = torch.tensor([0, 1, 2, 0])
    for key, value in ours(maps, targets).items():
        assert torch.equal(value, hosts(maps, targets)[key])
    features = ours.eval()(maps)
    torch.testing.assert_close(features, maps.mean(dim=(2, 3)))
    assert not torch.allclose(features, hosts.eval()(maps))  # BN has seen these maps
