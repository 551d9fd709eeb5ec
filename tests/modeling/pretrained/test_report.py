"""Matching, reports and normalisation, without a file of any family."""

import logging

import pytest
import torch

from fastreid_ext.modeling.pretrained.matching import match
from fastreid_ext.modeling.pretrained.normalisation import (
    CLIP,
    HALF,
    IMAGENET,
    LUPERSON,
    normalisation_problem,
)


def tensors(**shapes):
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


def test_match_new_layers_are_those_the_file_lacks_as_a_whole():
    model = tensors(conv=2, NL_1=3, NL_2=3, a__se=1)
    kinds = (r"^NL_", r"\.se")
    plain = match(model, tensors(conv=2), optional=kinds)
    assert plain.new == ["NL_1", "NL_2", "a.se"]
    assert (plain.missing, plain.share) == ([], 1.0)
    some = match(model, tensors(conv=2, NL_1=3), optional=kinds)
    assert (some.new, some.missing) == (["a.se"], ["NL_2"])
    assert some.share == pytest.approx(2 / 3)
    assert "1 new (a.se)" in str(some)


def test_report_is_logged_with_every_group(tmp_path, caplog, load, backbone_of):
    backbone = backbone_of("build_resnet_backbone", "18x", "WITH_SE", True)
    state = {name: value for name, value in backbone.state_dict().items() if ".se." not in name}
    state["fc.weight"] = torch.ones(5, 512)
    state["layer1.0.extra"] = torch.ones(1)
    state["layer2.0.bn1.weight"] = torch.ones(7)
    del state["layer3.0.bn1.bias"]
    torch.save(state, tmp_path / "file.pth")
    with caplog.at_level(logging.INFO, logger="fastreid_ext"):
        load(backbone, tmp_path / "file.pth")
    text = caplog.text
    for line in (
        "1 missing, left as built (layer3.0.bn1.bias)",
        "16 new, in no such file, left as built (layer1.0.se.fc.0.weight",
        "1 of another shape, left as built (layer2.0.bn1.weight (7,) -> (128,))",
        "1 in the file, unexpected (layer1.0.extra)",
        "1 in the file, left out (fc.weight)",
        "trained with ImageNet's normalisation",
    ):
        assert line in text


IMAGENET_KEYS = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


@pytest.mark.parametrize("normalisation", [IMAGENET, HALF, CLIP, LUPERSON])
def test_normalisation_keys_set_it(normalisation):
    keys = normalisation.keys().split('"')
    mean, std = ([float(value) for value in keys[i].strip("[]").split(",")] for i in (1, 3))
    assert normalisation.is_of(mean, std)
    assert normalisation_problem((normalisation,), mean, std) == ""


def test_normalisation_problem_names_keys_with_few_digits():
    assert IMAGENET.is_of(*IMAGENET_KEYS)
    assert IMAGENET.is_of([123.68, 116.28, 103.53], [58.4, 57.12, 57.38])
    assert not CLIP.is_of(*IMAGENET_KEYS)
    assert not IMAGENET.is_of(IMAGENET_KEYS[0][:1], IMAGENET_KEYS[1][:1])


def test_normalisation_unknown_is_no_problem():
    assert normalisation_problem((), *IMAGENET_KEYS) == ""


def test_normalisation_problem_names_one_of_several():
    problem = normalisation_problem((HALF, IMAGENET), *IMAGENET_KEYS)
    assert "usually trained with 0.5 normalisation, some with ImageNet's" in problem
    neither = normalisation_problem((HALF, IMAGENET), [0, 0, 0], [255, 255, 255])
    assert "MODEL.PIXEL_MEAN [0.0, 0.0, 0.0]" in neither
    assert 'add to the command: MODEL.PIXEL_MEAN "[127.5,127.5,127.5]"' in neither
