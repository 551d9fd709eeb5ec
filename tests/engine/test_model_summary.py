"""Counts of parameters: against models with values, and those published for DCAC."""

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.model_summary import (
    ParameterCount,
    configuration_on_meta,
    count_by_part,
    summarise,
)
from fastreid_ext.engine.read_tensors import read_by_features

from ..tiny_cfg import key_value_pairs

R18 = {"MODEL.BACKBONE.DEPTH": "18x", "MODEL.BACKBONE.FEAT_DIM": 0}
PROTOTYPES = {
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
}
BRANCH = {"MODEL.DIFFUSION.ENABLED": True, "INPUT.CLEAN_VIEW.SIZE": [128, 128]}
BDB = {
    "MODEL.META_ARCHITECTURE": "BDB",
    "MODEL.HEADS.NAME": "BDBHead",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
}
TINY = {
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
}
# The encoder of DCAC: CLIP ViT-B/16 with a frozen patch projection.
CLIP = {
    "MODEL.BACKBONE.NAME": "build_clip_vit_backbone",
    "MODEL.BACKBONE.DEPTH": "base",
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.BACKBONE.FREEZE_PATCH_EMBED": True,
}
# Table of overhead in DCAC: trained parameters in millions on Market-1501.
PUBLISHED = {"frozen": 86.51, "partial1": 599.37, "partial2": 696.41, "full": 946.03}


def summary_of(*groups, file="", identities=None):
    pairs = [part for group in groups for part in key_value_pairs(group)]
    return summarise(configuration_on_meta(file, pairs, identities=identities))


def in_millions(number):
    return round(number / 1e6, 2)


def on_cpu(*groups):
    pairs = [part for group in groups for part in key_value_pairs(group)]
    return Trainer.build_model(load_config("", [*pairs, "MODEL.DEVICE", "cpu"]))


def test_counts_equal_those_of_a_model_with_values():
    """A NaN in any parameter but the classifier's shows in a feature."""
    classes = {"MODEL.HEADS.NUM_CLASSES": 5}
    summary = summary_of(TINY | PROTOTYPES | classes)
    model = on_cpu(TINY | PROTOTYPES | classes)
    parameters = dict(model.named_parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert summary.whole == ParameterCount(trained, frozen)
    assert frozen == 128  # the bias of the neck
    heads = [parameter.numel() for name, parameter in parameters.items() if "heads" in name]
    assert summary.parts["heads"].total == sum(heads)
    assert list(summary.parts) == ["backbone", "heads"]
    asked = [*list(parameters)[::40], *(name for name in parameters if "heads" in name)]
    read = read_by_features(model, asked, (32, 16))
    assert set(asked) - set(read) == {"heads.weight"}
    assert summary.whole.total - summary.kept.total == 5 * 128


def test_features_of_bdb_need_no_classifier():
    summary = summary_of(R18 | BDB, identities=7)
    assert summary.whole.total - summary.kept.total == 7 * (512 + 1) + 7 * (1024 + 1)


def test_features_of_contrastive_pretraining_need_the_backbone_alone():
    summary = summary_of(file="configs/smoke/dapg_stage1.yml")
    assert summary.kept == summary.parts["backbone"]
    assert summary.parts["key_backbone"].frozen == summary.kept.trained
    assert summary.parts["key_backbone"].trained == 0


def test_counting_takes_no_memory_and_leaves_the_model_as_it_was():
    cfg = configuration_on_meta("", key_value_pairs(TINY | PROTOTYPES))
    with torch.device("meta"):
        model = Trainer.build_model(cfg)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert summarise(cfg).parts == count_by_part(model)


def test_baseline_and_lora_have_the_published_counts():
    baseline = summary_of(CLIP | PROTOTYPES)
    assert in_millions(baseline.whole.trained) == 85.94
    assert in_millions(baseline.kept.trained) == 85.55
    lora = summary_of(CLIP | PROTOTYPES | BRANCH)
    assert lora.parts["backbone"] == ParameterCount(trained=85_550_592, frozen=589_824)
    assert in_millions(lora.whole.trained) == 89.01
    assert lora.kept == baseline.kept
    assert lora.parts["diffusion_branch.condition"].trained == 751 * 768
    assert lora.parts["diffusion_branch.unet"].trained == 2_492_928
    assert lora.parts["diffusion_branch.unet"].frozen == 859_520_964
    assert "diffusion_branch.bottleneck" not in lora.parts


@pytest.mark.slow
@pytest.mark.parametrize("mode", PUBLISHED)
def test_other_modes_have_the_published_counts(mode):
    summary = summary_of(CLIP | PROTOTYPES | BRANCH, {"MODEL.DIFFUSION.UNET": mode})
    assert in_millions(summary.whole.trained) == PUBLISHED[mode]


def test_cached_latents_leave_out_the_autoencoder(tiny_pipeline_folder):
    branch = BRANCH | {"MODEL.DIFFUSION.BASE_MODEL": str(tiny_pipeline_folder)}
    bottleneck = {"MODEL.DIFFUSION.BOTTLENECK": "bn"}
    whole = summary_of(TINY | PROTOTYPES | branch | bottleneck)
    cached = summary_of(TINY | PROTOTYPES | branch, {"MODEL.DIFFUSION.LATENT_CACHE": "latents"})
    assert whole.parts["diffusion_branch.autoencoder"].trained == 0
    assert whole.parts["diffusion_branch.autoencoder"].frozen > 0
    assert whole.parts["diffusion_branch.bottleneck"].trained > 0
    assert set(cached.parts) == set(whole.parts) - {
        "diffusion_branch.autoencoder",
        "diffusion_branch.bottleneck",
    }


def test_identities_are_asked_configured_or_those_of_market1501():
    def classes(pairs, asked=None):
        cfg = configuration_on_meta("", key_value_pairs(R18 | pairs), identities=asked)
        return cfg.MODEL.HEADS.NUM_CLASSES

    configured = {"MODEL.HEADS.NUM_CLASSES": 12}
    assert classes({}) == 751
    assert classes(configured) == 12
    assert classes(configured, asked=3) == 3
