"""Every key of several views and of the losses over them reaches the object made of it."""

import pytest
from torch import nn

from fastreid_ext.data.transforms import from_config
from fastreid_ext.modeling.meta_arch import ContrastivePretrain, SimCLRPretrain, add_view_losses

from .configured import attributes, configured, keys_of


@pytest.mark.parametrize("recipe", ["cil", "corrupted"])
def test_every_key_of_views_arrives(recipe):
    changes = {"RECIPE": recipe, "COUNT": 5, "CROP": "separate"}
    changes |= {"ERASED": "shared"} if recipe == "cil" else {}
    others = {"INPUT.AUGMIX.METHOD": "paper"}
    views = from_config.build_views(configured("INPUT.VIEWS", changes, **others))
    assert (views.count, views.same_crop) == (5, False)
    assert getattr(views, "erased", "shared") == "shared"


def test_every_weight_of_the_losses_over_views_arrives():
    names = ("JSConsistencyLoss", "MultiPositiveContrastiveLoss")
    changes = {"NAME": names, "JS.SCALE": 3.0}
    changes |= {"MULTI_POSITIVE.SCALE": 0.25, "MULTI_POSITIVE.TEMPERATURE": 0.5}
    model = nn.Identity()
    model.losses = lambda outputs, targets: {}
    views = {"INPUT.VIEWS.RECIPE": "cil", "INPUT.VIEWS.SUPERVISED": "all"}
    add_view_losses(model, configured("MODEL.LOSSES", changes, **views))
    held = attributes(model.losses)
    assert {key: held[f"_{key}"] for key in ("on_all_views", "js_scale", "contrast_scale")} == {
        "on_all_views": True,
        "js_scale": 3.0,
        "contrast_scale": 0.25,
    }
    assert held["_temperature"] == 0.5


def test_every_key_of_contrastive_pretraining_arrives():
    changes = {"QUEUE": 96, "MOMENTUM": 0.5}
    assert set(changes) == keys_of("MODEL.MOCO")
    cfg = configured(
        "MODEL.MOCO",
        changes,
        **{
            "MODEL.BACKBONE.DEPTH": "18x",
            "MODEL.BACKBONE.FEAT_DIM": 512,
            "MODEL.HEADS.NAME": "ProjectionHead",
            "MODEL.HEADS.EMBEDDING_DIM": 8,
            "MODEL.LOSSES.NAME": ("JSConsistencyLoss",),
            "MODEL.LOSSES.JS.SCALE": 3.0,
            "MODEL.LOSSES.JS.OVER": "channels",
            "MODEL.LOSSES.MULTI_POSITIVE.SCALE": 0.25,
            "MODEL.LOSSES.MULTI_POSITIVE.TEMPERATURE": 0.5,
            "MODEL.LOSSES.NT_XENT.SCALE": 0.75,
            "MODEL.LOSSES.NT_XENT.TEMPERATURE": 0.3,
        },
    )
    read = ContrastivePretrain.from_config(cfg)
    assert {
        "momentum": 0.5,
        "queue_size": 96,
        "embedding_dim": 8,
        "temperature": 0.5,
        "contrast_scale": 0.25,
        "js_scale": 3.0,
        "js_over": "channels",
    }.items() <= read.items()
    assert {"temperature": 0.3, "scale": 0.75}.items() <= SimCLRPretrain.from_config(cfg).items()
