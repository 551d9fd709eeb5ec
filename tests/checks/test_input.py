"""Keys of corruptions, augmentation and views: defaults, names, contradictions."""

import re

import pytest

from fastreid_ext.data.transforms.from_config import view_count

from ..tiny_cfg import tiny_cfg
from .accepted import expect_accepted

PLAIN = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
}
CORRUPT = {"CORRUPTION__ENABLED": True}
SHOWN = {"INPUT.VIEWS.SUPERVISED": "all"}  # else views without a loss are refused
CIL = {"VIEWS__RECIPE": "cil", "AUGMIX__METHOD": "paper"}
MIXUP = {"MIXUP__ENABLED": True}
TWICE_MIXED = MIXUP | {"CUTMIX__ENABLED": True}
TRIPLETS = {"MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss")}


def load(changes):
    """Changes are named like VIEWS__COUNT, below INPUT, or in full with dots."""
    return tiny_cfg(PLAIN | in_full(changes))


def in_full(changes):
    return {
        name if "." in name else "INPUT." + name.replace("__", "."): value
        for name, value in changes.items()
    }


def test_existing_recipes_are_not_changed():
    inputs = load({}).INPUT
    steps = ("CORRUPTION", "AUGMIX", "SOFT_ERASING", "PATCH_MIXING", "CHANNEL", "GRAYSCALE")
    steps += ("RANDAUGMENT", "MIXUP", "CUTMIX")
    assert not any(inputs[step].ENABLED for step in steps)
    assert (inputs.AUGMIX.METHOD, inputs.VIEWS.RECIPE) == ("fastreid", "")


def test_values_are_the_papers():
    inputs = load({}).INPUT
    assert (inputs.AUGMIX.SEVERITY, inputs.AUGMIX.WIDTH, inputs.AUGMIX.DEPTH) == (3, 3, -1)
    assert inputs.AUGMIX.ALPHA == 1.0
    for step in ("SOFT_ERASING", "PATCH_MIXING"):
        assert (inputs[step].PROB, list(inputs[step].BETA)) == (0.5, [0.5, 1.0])
        assert (list(inputs[step].AREA), inputs[step].ASPECT) == ([0.02, 0.4], 0.3)


@pytest.mark.parametrize(
    ("recipe", "views"), [("", 1), ("independent", 2), ("corrupted", 3), ("cil", 3), ("dapg", 4)]
)
def test_number_of_views_is_the_recipes(recipe, views):
    cfg = load({}).clone()
    cfg.defrost()
    cfg.INPUT.VIEWS.RECIPE = recipe
    assert view_count(cfg) == views
    cfg.INPUT.VIEWS.COUNT = 5
    assert view_count(cfg) == (5 if recipe else 1)


@pytest.mark.parametrize(
    "changes",
    [
        CORRUPT | {"CORRUPTION__NAMES": ["fog", "rain"], "CORRUPTION__WHERE": "native"},
        CORRUPT | {"CORRUPTION__WHERE": "device"},
        CORRUPT | {"CORRUPTION__WHERE": "native", "SIZE_TRAIN": [30, 30]},
        CIL | SHOWN,
        {"VIEWS__RECIPE": "corrupted", "CORRUPTION__WHERE": "device"} | SHOWN,
        {"VIEWS__RECIPE": "independent", "VIEWS__CROP": "separate"} | SHOWN,
        TWICE_MIXED | {"MIXUP__PROB": 0.5, "CUTMIX__PROB": 0.5},
        {"AUGMIX__ENABLED": True, "AUGMIX__PROB": 0.5, "AUGMIX__METHOD": "paper"},
    ],
)
def test_what_fits_together_is_accepted_as_it_was_set(changes):
    expect_accepted(load(changes), in_full(changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"CORRUPTION__NAMES": ["fogg"]},
            "unknown name 'fogg' in INPUT.CORRUPTION.NAMES; did you mean 'fog'?",
        ),
        ({"CORRUPTION__WHERE": "gpu"}, "in INPUT.CORRUPTION.WHERE; known: device, native, resized"),
        ({"AUGMIX__METHOD": "Paper"}, "in INPUT.AUGMIX.METHOD; did you mean 'paper'?"),
        ({"CHANNEL__MODES": ["exchang"]}, "in INPUT.CHANNEL.MODES; did you mean 'exchange'?"),
        ({"VIEWS__RECIPE": "CIL"}, "unknown name 'CIL' in INPUT.VIEWS.RECIPE; did you mean 'cil'"),
        ({"VIEWS__ERASED": "none"}, "unknown name 'none' in INPUT.VIEWS.ERASED; known: all, each"),
    ],
)
def test_names_are_corrected(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CORRUPTION__PROB": 1.5}, "expected INPUT.CORRUPTION.PROB in [0, 1], got 1.5"),
        ({"CHANNEL__ERASING_PROB": -0.1}, "expected INPUT.CHANNEL.ERASING_PROB in [0, 1], got -0"),
        ({"GRAYSCALE__PROB": 2.0}, "expected INPUT.GRAYSCALE.PROB in [0, 1], got 2.0"),
        ({"AUGMIX__SEVERITY": 11}, "expected INPUT.AUGMIX.SEVERITY in (0.1, 10], got 11"),
        ({"AUGMIX__WIDTH": 0}, "expected INPUT.AUGMIX.WIDTH of at least 1, got 0"),
        ({"AUGMIX__DEPTH": 0}, "DEPTH of at least 1, or -1, got 0"),
        ({"AUGMIX__ALPHA": 0.0}, "expected INPUT.AUGMIX.ALPHA above 0, got 0.0"),
        ({"MIXUP__ALPHA": 0.0}, "expected INPUT.MIXUP.ALPHA above 0, got 0.0"),
        ({"RANDAUGMENT__MAGNITUDE": 31}, "MAGNITUDE in [0, 30], got 31"),
        ({"SOFT_ERASING__AREA": [0.4, 0.1]}, "INPUT.SOFT_ERASING.AREA [least, largest] inside"),
        ({"PATCH_MIXING__BETA": [0.5]}, "INPUT.PATCH_MIXING.BETA with two numbers above 0, got"),
        ({"PATCH_MIXING__ASPECT": 3.0}, "expected INPUT.PATCH_MIXING.ASPECT in (0, 1], got 3.0"),
        ({"CORRUPTION__SEVERITIES": [0, 1]}, "to list some of 1, 2, 3, 4, 5, got [0, 1]"),
        ({"CORRUPTION__SEVERITIES": [3.0]}, "to list some of 1, 2, 3, 4, 5, got [3.0]"),
        (
            {"CORRUPTION__NAMES": ["fog", "rain", "fog"]},
            "NAMES repeats a kind, ['fog', 'rain', 'fog']; name each once",
        ),
        (
            {"CHANNEL__ENABLED": True, "CHANNEL__MODES": [], "CHANNEL__INFRARED_MODES": []},
            "because INPUT.CHANNEL.MODES is empty and INPUT.CHANNEL.INFRARED_MODES is empty; remov",
        ),
        ({"CORRUPTION__SEVERITIES": []}, "to list some of 1, 2, 3, 4, 5, got []"),
        (
            {"CORRUPTION__NAMES": ["fog"], "CORRUPTION__COUNT": 2},
            "from 1 to the number of kinds, 1, got 2; a chain has no kind twice",
        ),
    ],
)
def test_numbers_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            CORRUPT | {"SIZE_TRAIN": [64, 16]},
            "at least 32 pixels on each side, but INPUT.SIZE_TRAIN is [64, 16]; enlarge it",
        ),
        (
            CORRUPT | {"CROP__ENABLED": True, "CROP__SIZE": [64, 24]},
            "on each side, but INPUT.CROP.SIZE is [64, 24]; enlarge it",
        ),
        (
            CORRUPT | {"CORRUPTION__WHERE": "device", "CORRUPTION__REFERENCE": True},
            "but WHERE is device; set WHERE to resized or native, or REFERENCE to False",
        ),
        (
            CIL | CORRUPT,
            "CORRUPTION.ENABLED is True but INPUT.VIEWS.RECIPE cil trains without corruptions; set",
        ),
        (
            {"VIEWS__RECIPE": "corrupted"} | CORRUPT,
            "corrupted applies INPUT.CORRUPTION by itself, to some of the views; set",
        ),
        (
            CIL | {"AUGMIX__ENABLED": True},
            "INPUT.AUGMIX.ENABLED False, its other keys are read all the same",
        ),
        (
            CIL | {"CORRUPTION__WHERE": "device"},
            "WHERE is device but INPUT.VIEWS.RECIPE cil trains without corruptions; set WHERE to",
        ),
        (
            CIL | {"AUGMIX__METHOD": "fastreid"},
            "INPUT.AUGMIX.METHOD is fastreid; set it to paper",
        ),
        (
            CIL | {"VIEWS__COUNT": 1},
            "INPUT.VIEWS.COUNT of at least 2 for the recipe cil, got 1; 0 takes the number of its",
        ),
        (
            {"VIEWS__RECIPE": "dapg", "VIEWS__COUNT": 3},
            "INPUT.VIEWS.COUNT 4 (q, k1, k2, k3) for the recipe dapg, got 3",
        ),
        (
            {"VIEWS__RECIPE": "dapg", "CORRUPTION__NAMES": ["fog", "snow"]},
            "three kinds of corruptions, but INPUT.CORRUPTION.NAMES has 2; name at least three",
        ),
        (
            {"VIEWS__RECIPE": "dapg", "CORRUPTION__WHERE": "native"},
            "at the size of the network, but INPUT.CORRUPTION.WHERE is native; set it to resized",
        ),
        (
            {"VIEWS__RECIPE": "dapg", "VIEWS__ANCHOR": "none"},
            "in INPUT.VIEWS.ANCHOR; known: clean, corrupted",
        ),
        (
            {"VIEWS__RECIPE": "corrupted", "CORRUPTION__WHERE": "native"},
            "INPUT.CORRUPTION.WHERE is native; set it to resized or device",
        ),
        (
            {"VIEWS__RECIPE": "corrupted", "SIZE_TRAIN": [16, 64]},
            "at least 32 pixels on each side, but INPUT.SIZE_TRAIN is [16, 64]",
        ),
        (
            {"VIEWS__RECIPE": "independent", "VIEWS__CROP": "shared"},
            "INPUT.VIEWS.CROP shared makes the views of INPUT.VIEWS.RECIPE independent equal",
        ),
        (
            MIXUP | TRIPLETS,
            "MODEL.LOSSES.NAME has TripletLoss; leave CrossEntropyLoss alone in it",
        ),
        (
            MIXUP | {"MODEL.HEADS.CLS_LAYER": "CircleSoftmax"},
            "INPUT.MIXUP needs logits without a margin, but MODEL.HEADS.CLS_LAYER is CircleSoft",
        ),
        (MIXUP | CIL | SHOWN, "INPUT.MIXUP mixes different images, but INPUT.VIEWS.RECIPE cil"),
        (
            TWICE_MIXED,
            "INPUT.CUTMIX.PROB to sum to at most 1, got 1.0 and 1.0; 0.5 each alternates",
        ),
    ],
)
def test_contradictions_are_named_with_what_to_do(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(changes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("RANDAUGMENT.TIMM", "random-m9", "rand and parts of m.*got 'random-m9'.*e.g. rand"),
        ("RANDAUGMENT.TIMM", "rand-mx", "got 'rand-mx'"),
        ("SOFT_ERASING.BETA", [0.5, 0.0], "BETA with two numbers above 0"),
        ("PATCH_MIXING.BETA", [1.0, 0.0], "BETA with two numbers above 0"),
    ],
)
def test_augmentation_value_outside_its_range_is_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        tiny_cfg({f"INPUT.{key}": value})


@pytest.mark.parametrize("text", ["rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.5-mmax10"])
def test_timms_notation_of_rand_augment_is_accepted(text):
    cfg = tiny_cfg({"INPUT.RANDAUGMENT.ENABLED": True, "INPUT.RANDAUGMENT.TIMM": text})
    assert text == cfg.INPUT.RANDAUGMENT.TIMM
