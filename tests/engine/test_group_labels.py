"""Clusterings of several sizes in a run, and what is refused: GLT."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_ext.data.preflight import preflight
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.group_labels import GroupLabels
from fastreid_ext.engine.run import load_model
from fastreid_ext.engine.training_features import TrainingFeatures
from fastreid_ext.evaluation.cluster_file import read_clusters
from fastreid_ext.modeling.build import build_model
from fastreid_ext.neighbours.kmeans import kmeans_labels

from .domains import ADAPTATION, SOURCE_IDENTITIES, write_source
from .test_domain_labels import GLT
from .tiny import run

SIZES = GLT["MODEL__GLT__CLUSTERS"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture
def glt_cfg(make_cfg, source):
    def make(output="run", **changes):
        sets = {"DATASETS__SETS": [source]}
        return make_cfg(output, **ADAPTATION | sets | GLT | changes)

    return make


class Watching(Trainer):
    """Keeps the labels of each epoch, and the features that its groups were made of."""

    def before_epoch(self):
        super().before_epoch()
        hook = next(hook for hook in self._hooks if isinstance(hook, GroupLabels))
        vars(self).setdefault("seen", []).append(
            (hook._groups.copy(), self.data_loader.labels.copy(), hook._features.extract())
        )


def test_groups_are_of_kmeans_and_then_of_the_teacher(glt_cfg):
    cfg = glt_cfg(SOLVER__MAX_EPOCH=2)
    trainer = run(Watching, cfg)
    (first, labels, features), (second, later, teachers) = trainer.seen
    unit = torch.nn.functional.normalize(features, dim=1)
    for own, size in zip(first, SIZES, strict=True):
        assert np.array_equal(own, kmeans_labels(unit, size, seed=7))
    for groups, given in ((first, labels), (second, later)):
        assert groups.shape == (3, 48)
        assert groups.min() >= 0  # no image is left out
        chosen = groups[1]
        own = given[-48:] - SOURCE_IDENTITIES
        assert np.array_equal(own[:, None] == own, chosen[:, None] == chosen)
    assert not np.array_equal(first, second)
    assert not torch.equal(features, teachers)
    for own, size in zip(second, SIZES, strict=True):
        assert np.bincount(own, minlength=size).max() <= 2 * 48 // size  # equally large clusters
    shown = read_clusters(Path(cfg.OUTPUT_DIR) / "clusters.csv").clusters
    assert np.array_equal(shown, later[-48:] - SOURCE_IDENTITIES)


def test_first_clusters_may_be_those_of_the_run_before(glt_cfg, tmp_path):
    keys = {"SOLVER__MAX_EPOCH": 1, "SOLVER__ITERS_PER_EPOCH": 2}
    torch.manual_seed(1)
    path = tmp_path / "before.pth"
    torch.save({"model": build_model(glt_cfg(MODEL__HEADS__NUM_CLASSES=17)).state_dict()}, path)
    cfg = glt_cfg("after", MODEL__GLT__PREVIOUS_RUN=str(path), **keys)
    trainer = run(Watching, cfg)
    ((groups, _, features),) = trainer.seen
    earlier = load_model(cfg, path)
    hook = next(hook for hook in trainer._hooks if isinstance(hook, GroupLabels))
    expected = TrainingFeatures(cfg, earlier, hook._items).extract()
    assert not torch.equal(features, expected)  # the weights are those of a new run
    unit = torch.nn.functional.normalize(expected, dim=1)
    assert np.array_equal(groups[1], kmeans_labels(unit, SIZES[1], seed=7))


def test_more_clusters_than_images_are_refused_before_training(glt_cfg):
    cfg = glt_cfg(MODEL__GLT__CLUSTERS=[6, 8, 49])
    expected = "MODEL.GLT.CLUSTERS has 49 clusters, but there are only 48 training images; lower it"
    assert any(expected in problem for problem in preflight(cfg).problems)
    with pytest.raises(ValueError, match=expected):
        Trainer(cfg)


def test_images_that_give_too_few_clusters_are_refused_before_the_first_step(glt_cfg):
    class Alike(Trainer):
        def build_method_hooks(self):
            hooks = super().build_method_hooks()
            (hook,) = [hook for hook in hooks if isinstance(hook, GroupLabels)]
            hook._kmeans = lambda features: np.arange(48)[None, :].repeat(3, 0) % 2
            return hooks

    expected = "epoch 0 cannot be trained on: .*; raise MODEL.GLT.CLUSTERS at the place"
    with pytest.raises(ValueError, match=expected):
        run(Alike, glt_cfg())
