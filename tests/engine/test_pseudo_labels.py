"""Training on clusters that are made again before every epoch."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_items_loader
from fastreid_ext.data.preflight import preflight
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.pseudo_labels import PseudoLabels, largest_clusters
from fastreid_ext.engine.setup import prepare_run
from fastreid_ext.evaluation.cluster_file import read_clusters

from .conftest import TRAIN_IDENTITIES
from .tiny import assert_equal_checkpoints, overrides, run

CLUSTERS = {
    "MODEL__META_ARCHITECTURE": "ClusterBaseline",
    "MODEL__HEADS__NECK_FEAT": "before",
    "DATALOADER__SAMPLER_TRAIN": "BalancedIdentitySampler",
    "DATALOADER__NUM_WORKERS": 0,
    "SOLVER__ITERS_PER_EPOCH": 3,
    "SOLVER__BASE_LR": 1e-3,
    "UNSUPERVISED__ENABLED": True,
    "UNSUPERVISED__K1": 8,
    "UNSUPERVISED__K2": 3,
    "UNSUPERVISED__EPS": 0.5,
    "UNSUPERVISED__MIN_SAMPLES": 3,
}


class Recording(Trainer):
    """Keeps the targets of every batch, with the images that they belong to."""

    targets: dict[str, set[int]]

    def run_step(self) -> None:
        step = self._trainer
        usual = step.losses

        def losses(batch):
            for path, target in zip(batch["img_paths"], batch["targets"].tolist(), strict=True):
                self.targets.setdefault((self.epoch, path), set()).add(target)
            return usual(batch)

        step.losses = losses
        super().run_step()
        step.losses = usual


@pytest.fixture
def recording():
    return type("RecordingHere", (Recording,), {"targets": {}})


def test_images_are_trained_on_as_their_clusters_and_noise_is_left_out(make_cfg, recording):
    cfg = make_cfg(**CLUSTERS)
    trainer = run(recording, cfg)
    last = read_clusters(Path(cfg.OUTPUT_DIR) / "clusters.csv")
    cluster_of = dict(zip(last.paths, last.clusters.tolist(), strict=True))
    seen = {path: found for (epoch, path), found in recording.targets.items() if epoch == 1}
    assert len(seen) >= 8
    for path, found in seen.items():
        assert found == {cluster_of[path]}
        assert cluster_of[path] >= 0
    assert 2 <= max(cluster_of.values()) + 1 < 48
    # One row for each cluster, all others zero and never moved.
    count = trainer.model.num_clusters
    rows = trainer.model.heads.weight
    assert len(rows) == 48 // 3
    assert rows[:count].any(dim=1).all()
    assert not rows[count:].any()
    metrics = [json.loads(line) for line in (Path(cfg.OUTPUT_DIR) / "metrics.json").open()]
    counts = [line["clusters/clusters"] for line in metrics if "clusters/clusters" in line]
    assert counts[-1] == max(last.clusters) + 1
    assert all(0 <= line["clusters/ari"] <= 1 for line in metrics if "clusters/ari" in line)


def test_identities_of_the_data_reach_no_loss(make_cfg):
    """Equal images under other identities are trained to equal weights; only the report differs."""
    first = run(Trainer, make_cfg("true", **CLUSTERS))
    reports = []

    class Mislabelled(Trainer):
        @classmethod
        def build_train_loader(cls, cfg):
            loader = super().build_train_loader(cfg)
            items = loader.dataset.img_items
            wrong = np.random.default_rng(0).integers(0, 5, len(items))
            loader.dataset.img_items = items.with_pids(wrong)
            return loader

    second = run(Mislabelled, make_cfg("wrong", **CLUSTERS))
    expected = second.model.state_dict()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    for trainer in (first, second):
        reports.append(trainer.storage.history("clusters/ari").latest())
    assert reports[0] != reports[1]


KILLED = """
import os, signal, sys
import fastreid_ext
from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.setup import prepare_run

class Killed(Trainer):
    def run_step(self):
        if self.iter == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        super().run_step()

trainer = Killed(prepare_run(load_config("", sys.argv[1:])))
trainer.resume_or_load(False)
trainer.train()
"""


CONTRAST = CLUSTERS | {
    "MODEL__META_ARCHITECTURE": "ClusterContrast",
    "MODEL__LOSSES__NAME": ("ClusterContrastLoss",),
    "MODEL__HEADS__NECK_FEAT": "after",
}


OF_ICE = CONTRAST | {
    "MODEL__META_ARCHITECTURE": "ICE",
    "MODEL__LOSSES__NAME": ("ICELoss", "CameraProxyLoss"),
    "MODEL__ICE__MOMENTUM": 0.9,
    "MODEL__BN_GROUP": 4,
    "INPUT__VIEWS__RECIPE": "strong_weak",
    "INPUT__BLUR__ENABLED": True,
    "DATALOADER__SAMPLER_TRAIN": "OnePerCameraSampler",
}
SPCL = CLUSTERS | {
    "MODEL__META_ARCHITECTURE": "SpCL",
    "MODEL__LOSSES__NAME": ("InstanceContrastLoss",),
    "MODEL__HEADS__NECK_FEAT": "after",
    "DATALOADER__SAMPLER_TRAIN": "OtherCameraSampler",
    "UNSUPERVISED__EPS_GAP": 0.1,
    "UNSUPERVISED__OUTLIERS": "kept",
}
OF_PPLR = {key: value for key, value in CLUSTERS.items() if "NECK_FEAT" not in key} | {
    "MODEL__META_ARCHITECTURE": "PPLR",
    "MODEL__HEADS__NAME": "StripeHead",
    "MODEL__HEADS__STRIPES": 2,
    "MODEL__LOSSES__NAME": ("PPLRLoss", "CameraProxyLoss"),
    "MODEL__LOSSES__PPLR__START_EPOCH": 1,
    "MODEL__LOSSES__PPLR__NEIGHBOURS": 6,
}
RECIPES = {
    "ClusterBaseline": CLUSTERS,
    "ClusterContrast": CONTRAST,
    "ICE": OF_ICE,
    "SpCL": SPCL,
    "PPLR": OF_PPLR,
}


@pytest.mark.slow
@pytest.mark.parametrize("keys", RECIPES.values(), ids=RECIPES)
def test_run_killed_within_an_epoch_resumes_to_the_same_checkpoint(keys, market_root, tmp_path):
    whole = overrides(market_root, tmp_path / "whole", **keys, SOLVER__MAX_EPOCH=3)
    stopped = overrides(market_root, tmp_path / "stopped", **keys, SOLVER__MAX_EPOCH=3)
    run(Trainer, load_config("", whole))
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", KILLED, *stopped]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    trainer = run(Trainer, load_config("", stopped), resume=True)
    assert trainer.start_iter == 3
    assert_equal_checkpoints(tmp_path / "whole", tmp_path / "stopped")
    assert (tmp_path / "whole/clusters.csv").read_text() == (
        tmp_path / "stopped/clusters.csv"
    ).read_text()


def test_room_for_clusters_does_not_follow_the_identities(make_cfg):
    trainer = Trainer(make_cfg(**CLUSTERS))
    assert trainer.cfg.MODEL.HEADS.NUM_CLASSES == 48 // 3 != TRAIN_IDENTITIES
    assert (trainer.data_loader.dataset.targets == -1).all()


def test_more_clusters_than_room_leaves_the_smallest_out(caplog):
    labels = np.array([0, 0, 1, 2, 2, -1, 3, 3, 3])
    assert largest_clusters(labels, 4) is labels
    assert largest_clusters(labels, 2).tolist() == [0, 0, -1, -1, -1, -1, 1, 1, 1]
    assert "4 clusters, but room for MODEL.HEADS.NUM_CLASSES 2" in caplog.text


def training_with(labels_of_epoch: list[list[int]]) -> type[Trainer]:
    """Build a trainer whose clusterings are given."""

    class Given(Trainer):
        def build_method_hooks(self):
            hooks = super().build_method_hooks()
            for hook in hooks:
                if isinstance(hook, PseudoLabels):
                    hook._cluster = lambda features: np.array(labels_of_epoch[self.epoch])
            return hooks

    return Given


EIGHT = [number // 6 for number in range(48)]
TWO_OF_FEW = [0, 0, 0, 1, 1, 1] + [-1] * 42


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([-1] * 48, r"clusters of epoch 0 cannot be trained on: all 48 images are noise; raise or"),
        ([0] * 48, "there is one cluster, of 48 images, which can be told from no other"),
        (TWO_OF_FEW, r"needs 4 different identities .* but there are 2; lower SOLVER.IMS_PER_BATC"),
    ],
)
def test_first_clusters_that_cannot_be_trained_on_are_refused(make_cfg, labels, expected):
    with pytest.raises(ValueError, match=expected):
        run(training_with([labels]), make_cfg(**CLUSTERS))


def test_later_clusters_that_cannot_be_trained_on_leave_those_of_before(make_cfg, capsys):
    trainer = run(training_with([EIGHT, [-1] * 48]), make_cfg(**CLUSTERS))
    assert trainer.data_loader.labels.tolist() == EIGHT
    assert trainer.iter == 6
    expected = "epoch 1 cannot be trained on: all 48 images are noise; those of the epoch before"
    assert expected in capsys.readouterr().out


def test_cluster_of_one_image_is_repeated_in_a_batch(make_cfg, recording):
    labels = [0, 1, 2, 3, *[-1] * 44]
    kind = type("Given", (training_with([labels, labels]), recording), {})
    run(kind, make_cfg(**CLUSTERS))
    assert {target for found in recording.targets.values() for target in found} == {0, 1, 2, 3}


def test_features_that_are_not_finite_name_the_image(make_cfg):
    class Diverged(Trainer):
        def resume_or_load(self, resume=True):
            super().resume_or_load(resume)
            with torch.no_grad():
                self.model.backbone.conv1.conv.weight.fill_(torch.nan)

    expected = r"finite features of all 48 .* before epoch 0, got NaN .* 48, .*0001_c1s1.*lower SOL"
    with pytest.raises(ValueError, match=expected):
        run(Diverged, make_cfg(**CLUSTERS))


def test_fewer_images_than_nearest_ones_are_refused_before_training(make_cfg):
    cfg = make_cfg(**CLUSTERS | {"UNSUPERVISED__K1": 60})
    expected = "UNSUPERVISED.K1 is 60 nearest images, but there are only 48 training images; lower"
    assert any(expected in problem for problem in preflight(cfg).problems)
    with pytest.raises(ValueError, match="K1 is 60"):
        Trainer(cfg)


def test_images_of_one_camera_are_a_warning(make_cfg, market_root):
    """A folder of images without labels has no cameras either; it is trained on, and said."""
    folder = market_root / "Market-1501-v15.09.15/bounding_box_train"
    cfg = make_cfg(
        **CLUSTERS
        | {
            "DATASETS__NAMES": ("UnlabelledPersons",),
            "DATASETS__FOLDER": str(folder),
            "SOLVER__MAX_EPOCH": 1,
        }
    )
    warnings = preflight(cfg).warnings
    assert any("all training images are of one camera (unlabelledpersons_0)" in w for w in warnings)
    trainer = run(Trainer, cfg)
    assert "clusters/ari" not in trainer.storage.histories()
    with (Path(cfg.OUTPUT_DIR) / "clusters.csv").open() as file:
        assert {row["identity"] for row in csv.DictReader(file)} == {""}


def test_features_of_parts_that_are_not_finite_name_the_image(make_cfg):
    class Diverged(Trainer):
        def resume_or_load(self, resume=True):
            super().resume_or_load(resume)
            with torch.no_grad():
                self.model.heads.part2_head.neck.weight.fill_(torch.nan)

    with pytest.raises(ValueError, match=r"finite features of all 48 .* got NaN .* for 48, the"):
        run(Diverged, make_cfg(**OF_PPLR))


def test_several_features_of_an_image_are_clustered_by_the_first(make_cfg):
    """Rows follow the images, and only the whole image decides about clusters."""
    cfg = make_cfg(**OF_PPLR)
    trainer = Trainer(prepare_run(cfg))
    trainer.resume_or_load(False)
    hook = next(hook for hook in trainer._hooks if isinstance(hook, PseudoLabels))
    seen = {}
    cluster = hook._cluster
    hook._cluster = lambda features: seen.setdefault("labels", cluster(features))
    begin = trainer.model.begin_clusters

    def begin_clusters(features, labels, **facts):
        seen.update(features=features, labels=labels)
        begin(features, labels, **facts)

    trainer.model.begin_clusters = begin_clusters
    trainer.epoch = 0
    trainer.iter = 0
    hook.before_train()
    hook.before_epoch()
    trainer._trainer.stop()
    features = seen["features"]
    assert features.shape == (48, 3, 128)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(48, 3))
    assert torch.equal(torch.from_numpy(cluster(features[:, 0])), seen["labels"])
    trainer.model.eval()
    item = trainer.data_loader.dataset.img_items
    loader = build_items_loader(cfg, [item[5]])
    with torch.no_grad():
        alone = trainer.model(next(iter(loader)))
    torch.testing.assert_close(torch.nn.functional.normalize(alone)[0], features[5, 0])


@pytest.mark.parametrize("is_aware", [True, False])
def test_images_of_one_camera_are_refused_by_the_camera_term_alone(make_cfg, market_root, is_aware):
    folder = market_root / "Market-1501-v15.09.15/bounding_box_train"
    changes = {"DATASETS__NAMES": ("UnlabelledPersons",), "DATASETS__FOLDER": str(folder)}
    changes["SOLVER__MAX_EPOCH"] = 1
    if is_aware:
        cfg = make_cfg(**OF_ICE | changes)
        expected = "of one camera (unlabelledpersons_0), or their cameras are not known; give the"
        assert any(expected in problem for problem in preflight(cfg).problems)
        with pytest.raises(ValueError, match="or take the name out, which leaves the variant with"):
            Trainer(cfg)
        return
    trainer = run(Trainer, make_cfg(**OF_ICE | changes | {"MODEL__LOSSES__NAME": ("ICELoss",)}))
    assert trainer.iter == 3


def test_facts_of_clusters_are_those_of_the_batches(make_cfg):
    """Cameras are counted from 0, whatever their names; the epoch is the trainer's."""
    seen = []

    class Watching(Trainer):
        def build_method_hooks(self):
            begin = self.model.begin_clusters

            def begin_clusters(features, labels, **facts):
                seen.append((self.epoch, facts))
                begin(features, labels, **facts)

            self.model.begin_clusters = begin_clusters
            return super().build_method_hooks()

        def run_step(self):
            step = self._trainer
            usual = step.losses

            def losses(batch):
                of_path = dict(zip(paths, seen[-1][1]["cameras"].tolist(), strict=True))
                for path, camera in zip(batch["img_paths"], batch["camids"].tolist(), strict=True):
                    assert of_path[path] == camera
                return usual(batch)

            step.losses = losses
            super().run_step()
            step.losses = usual

    cfg = make_cfg(**OF_ICE)
    trainer = Watching(prepare_run(cfg))
    paths = list(trainer.data_loader.dataset.img_items.paths)
    trainer.resume_or_load(False)
    trainer.train()
    assert [epoch for epoch, _ in seen] == [0, 1]
    assert seen[0][1].keys() == {"cameras"}
    cameras = seen[0][1]["cameras"]
    assert cameras.unique().tolist() == [*range(int(cameras.max()) + 1)]


def test_checkpoint_holds_the_clusters(make_cfg):
    cfg = make_cfg(**CLUSTERS)
    trainer = run(Trainer, cfg)
    saved = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["loader"]
    assert saved["labels"].tolist() == trainer.data_loader.labels.tolist()
    assert saved["relabelled_at"] == 3


@pytest.mark.slow
def test_memory_stays_where_float16_overflows(make_cfg):
    """Loss scaling begins so high that the first gradients overflow; that step moves nothing."""
    moved = []

    class Watching(Trainer):
        def run_step(self) -> None:
            before = self.model.memory.centroids.clone()
            super().run_step()
            moved.append((self.step_applied, before))

        def after_step(self) -> None:
            applied, before = moved.pop()
            super().after_step()
            is_moved = not torch.equal(self.model.memory.centroids, before)
            moved.append((applied, is_moved))

    changes = {
        "SOLVER__AMP__ENABLED": True,
        "SOLVER__AMP__DTYPE": "float16",
        "SOLVER__ITERS_PER_EPOCH": 4,
        "SOLVER__MAX_EPOCH": 1,
        "SOLVER__GRADIENT_CHECK_STEPS": 0,
    }

    class Scaled(Watching):
        def build_step(self, *args, **kwargs):
            step = super().build_step(*args, **kwargs)
            step.grad_scaler._init_scale = 2.0**40
            step.grad_scaler._backoff_factor = 2.0**-40  # after the first overflow none follows
            return step

    trainer = run(Scaled, make_cfg(**CONTRAST | changes))
    assert trainer.model.memory.centroids.dtype == torch.float32
    assert moved == [(False, False), (True, True), (True, True), (True, True)]


def test_noise_that_is_kept_is_a_class_for_each_image_and_noise_in_the_file(make_cfg, recording):
    cfg = make_cfg(**SPCL)
    trainer = run(recording, cfg)
    labels = trainer.data_loader.labels
    sizes = np.bincount(labels)
    assert labels.min() == 0
    assert sizes.min() == 1 < sizes.max()
    shown = read_clusters(Path(cfg.OUTPUT_DIR) / "clusters.csv").clusters
    assert np.array_equal(shown, np.where(sizes[labels] > 1, labels, -1))
    assert shown.max() + 1 == (sizes > 1).sum()
    found = {target for seen in recording.targets.values() for target in seen}
    assert found & set(np.flatnonzero(sizes == 1))


def test_memory_is_clustered_from_the_second_epoch_on(make_cfg):
    """It has moved by then, and images are looked at once."""
    given = []
    extracted = []

    class Watching(Trainer):
        def build_method_hooks(self):
            hooks = super().build_method_hooks()
            (hook,) = [hook for hook in hooks if isinstance(hook, PseudoLabels)]
            usual = hook._cluster
            hook._cluster = lambda features: given.append(features.clone()) or usual(features)
            self.labels_hook = hook
            return hooks

        def before_train(self):
            super().before_train()
            usual = self.labels_hook._features.extract
            self.labels_hook._features.extract = lambda: extracted.append(1) or usual()

        def after_epoch(self):
            memory = self.model.remembered_features()
            torch.testing.assert_close(memory.norm(dim=1), torch.ones(48))
            self.remembered = memory.clone()
            super().after_epoch()

    trainer = run(Watching, make_cfg(**SPCL, SOLVER__MAX_EPOCH=2))
    assert len(given) == 2
    assert extracted == [1]
    assert not torch.allclose(given[0], given[1], atol=1e-3)
    assert trainer.labels_hook.state_dict()["limit"] is not None
    saved = read_checkpoint(Path(trainer.cfg.OUTPUT_DIR) / "model_final.pth")
    assert saved["pseudo_labels"] == trainer.labels_hook.state_dict()
    assert torch.equal(saved["model"]["memory.features"], trainer.remembered)
