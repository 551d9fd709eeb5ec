"""Training on a labelled source and on clusters of an unlabelled target."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.data.preflight import preflight
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.curriculum_labels import CurriculumLabels
from fastreid_ext.engine.domain_labels import DomainPseudoLabels
from fastreid_ext.engine.run import load_model
from fastreid_ext.evaluation.cluster_file import read_clusters

from .domains import ADAPTATION, SOURCE_IDENTITIES, write_source
from .test_pseudo_labels import KILLED
from .tiny import assert_equal_checkpoints, overrides, run


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture
def adapt_cfg(make_cfg, source):
    def make(output="run", **changes):
        return make_cfg(output, **ADAPTATION | {"DATASETS__SETS": [source]} | changes)

    return make


def test_batches_are_half_of_the_source_and_half_of_the_clusters(adapt_cfg):
    batches = []

    class Recording(Trainer):
        def run_step(self):
            step = self._trainer
            usual = step.losses
            step.losses = lambda batch: (batches.append((self.epoch, batch)), usual(batch))[1]
            super().run_step()
            step.losses = usual

    cfg = adapt_cfg()
    trainer = run(Recording, cfg)
    last = read_clusters(Path(cfg.OUTPUT_DIR) / "clusters.csv")
    cluster_of = dict(zip(last.paths, last.clusters.tolist(), strict=True))
    assert len(cluster_of) == 48
    assert len(batches) == 6
    for epoch, batch in batches:
        targets = batch["targets"]
        assert (targets[:8] < SOURCE_IDENTITIES).all()
        assert (targets[8:] >= SOURCE_IDENTITIES).all()
        # Four identities of two images from different cameras in each half.
        assert (targets[::2] == targets[1::2]).all()
        assert (batch["camids"][:8:2] != batch["camids"][1:8:2]).all()
        for path, target in zip(batch["img_paths"][:8], targets[:8].tolist(), strict=True):
            assert f"/{target + 1:04d}_c" in path
            assert "/shop/" in path
        if epoch == 1:
            for path, target in zip(batch["img_paths"][8:], targets[8:].tolist(), strict=True):
                assert target == cluster_of[path] + SOURCE_IDENTITIES
    count = trainer.model.num_clusters
    assert count == SOURCE_IDENTITIES + max(last.clusters) + 1
    rows = trainer.model.heads.weight
    assert len(rows) == SOURCE_IDENTITIES + 48 // 3
    assert rows[:count].any(dim=1).all()
    assert not rows[count:].any()


@pytest.mark.parametrize("method", ["DomainBaseline", "UNRN"])
def test_identities_of_the_target_reach_no_loss(adapt_cfg, method):
    keys = UNRN | {"SOLVER__MAX_EPOCH": 1} if method == "UNRN" else {}

    class Mislabelled(Trainer):
        @classmethod
        def build_train_loader(cls, cfg):
            loader = super().build_train_loader(cfg)
            dataset = loader.dataset
            pids = dataset.img_items.dense_pids()[0].copy()
            images = len(dataset.source_labels)
            pids[images:] = np.random.default_rng(0).integers(0, 5, len(pids) - images)
            dataset.img_items = dataset.img_items.with_pids(pids)
            return loader

    first = run(Trainer, adapt_cfg("true", **keys))
    second = run(Mislabelled, adapt_cfg("wrong", **keys))
    expected = second.model.state_dict()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    figures = [run.storage.history("clusters/ari").latest() for run in (first, second)]
    assert figures[0] != figures[1]


def test_rows_of_the_source_begin_as_its_centroids_and_go_on_from_epoch_to_epoch(adapt_cfg):
    rows = []

    class Watching(Trainer):
        def before_epoch(self):
            before = self.model.heads.weight.detach().clone()
            super().before_epoch()
            rows.append((before, self.model.heads.weight.detach().clone()))

    trainer = run(Watching, adapt_cfg())
    (first, begun), (before, after) = rows
    torch.testing.assert_close(begun[:SOURCE_IDENTITIES].norm(dim=1), torch.ones(5))
    assert torch.equal(first[:SOURCE_IDENTITIES], begun[:SOURCE_IDENTITIES])
    assert torch.equal(before[:SOURCE_IDENTITIES], after[:SOURCE_IDENTITIES])
    assert not torch.equal(begun[:SOURCE_IDENTITIES], after[:SOURCE_IDENTITIES])
    assert not torch.equal(before[SOURCE_IDENTITIES:], after[SOURCE_IDENTITIES:])
    used = after[SOURCE_IDENTITIES:].any(dim=1)
    torch.testing.assert_close(
        after[SOURCE_IDENTITIES:][used].norm(dim=1), torch.ones(int(used.sum()))
    )
    assert trainer.model.num_sources == SOURCE_IDENTITIES


def test_checkpoint_is_evaluated_with_the_norms_of_the_target(adapt_cfg):
    cfg = adapt_cfg()
    trainer = run(Trainer, cfg)
    model = load_model(cfg, Path(cfg.OUTPUT_DIR) / "model_final.pth").eval()
    images = {"images": torch.rand(2, 3, 64, 32) * 255}
    expected = trainer.model.eval()({"images": images["images"].clone()})
    torch.testing.assert_close(model(images), expected)
    norm = trainer.model.backbone.conv1.bn
    assert not torch.equal(norm.running_mean, norm.source.running_mean)


def test_weights_of_a_plain_model_begin_both_domains(adapt_cfg):
    cfg = adapt_cfg(SOLVER__MAX_EPOCH=1)
    run(Trainer, cfg)
    plain = load_model(cfg, Path(cfg.OUTPUT_DIR) / "model_final.pth")
    file = Path(cfg.OUTPUT_DIR) / "plain.pth"
    torch.save({"model": plain.state_dict()}, file)
    trainer = Trainer(adapt_cfg("second", MODEL__WEIGHTS=str(file)))
    trainer.resume_or_load(False)
    norm = trainer.model.backbone.conv1.bn
    wanted = plain.backbone.conv1.bn.running_mean
    assert torch.equal(norm.source.running_mean, wanted)
    assert torch.equal(norm.running_mean, wanted)


HCD = {
    "MODEL__META_ARCHITECTURE": "HCD",
    "MODEL__HEADS__NECK_FEAT": "after",
    "MODEL__LOSSES__NAME": ("InstanceContrastLoss",),
    "MODEL__LOSSES__CE__EPSILON": 0.0,
    "MODEL__HCD__NEIGHBOURS": 12,
    "MODEL__HCD__LINKED": 6,
    "DATALOADER__SAMPLER_TRAIN": "LeastUsedSampler",
    "UNSUPERVISED__OUTLIERS": "kept",
}

UNRN = {
    "MODEL__META_ARCHITECTURE": "UNRN",
    "MODEL__HEADS__NECK_FEAT": "after",
    "MODEL__LOSSES__NAME": ("UNRNLoss",),
    "MODEL__LOSSES__CE__EPSILON": 0.0,
    "MODEL__UNRN__MEMORY": 20,
    "MODEL__UNRN__MOMENTUM": 0.9,
    "UNSUPERVISED__PERIOD": 2,
}

GLT = {
    "MODEL__META_ARCHITECTURE": "GLT",
    "MODEL__LOSSES__TRI__MARGIN": 0.0,
    "MODEL__GLT__CLUSTERS": [6, 8, 12],
    "MODEL__GLT__MOMENTUM": 0.9,
    # Not read, so the defaults.
    "UNSUPERVISED__K1": 30,
    "UNSUPERVISED__K2": 6,
    "UNSUPERVISED__EPS": 0.6,
    "UNSUPERVISED__MIN_SAMPLES": 4,
}

IDM = {
    "MODEL__META_ARCHITECTURE": "IDM",
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__BACKBONE__DEPTH": "18x",
    "MODEL__BACKBONE__FEAT_DIM": 0,
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss", "TripletLoss", "BankTripletLoss", "BridgeLoss"),
    # The bank overflows in the second epoch, and its clusters are removed before.
    "MODEL__LOSSES__BANK_TRIPLET__RATIO": 0.5,
}


CACL = {
    "MODEL__META_ARCHITECTURE": "CaCL",
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss",),
    "UNSUPERVISED__CURRICULUM__ENABLED": True,
    "UNSUPERVISED__K1": 5,
    "UNSUPERVISED__MIN_SAMPLES": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [{}, IDM, CACL, HCD, UNRN, GLT],
    ids=["DomainBaseline", "IDM", "CaCL", "HCD", "UNRN", "GLT"],
)
def test_run_killed_within_an_epoch_resumes_to_the_same_checkpoint(
    method, market_root, source, tmp_path
):
    keys = ADAPTATION | {"DATASETS__SETS": [source], "SOLVER__MAX_EPOCH": 3} | method
    whole = overrides(market_root, tmp_path / "whole", **keys)
    stopped = overrides(market_root, tmp_path / "stopped", **keys)
    run(Trainer, load_config("", whole))
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", KILLED, *stopped]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    trainer = run(Trainer, load_config("", stopped), resume=True)
    assert trainer.start_iter == 3
    assert_equal_checkpoints(tmp_path / "whole", tmp_path / "stopped")


def given_clusters(labels_of_epoch):
    class Given(Trainer):
        def build_method_hooks(self):
            hooks = super().build_method_hooks()
            for hook in hooks:
                if isinstance(hook, DomainPseudoLabels):
                    hook._cluster = lambda features: np.array(labels_of_epoch[self.epoch])
            return hooks

    return Given


def test_no_clusters_before_the_first_epoch_are_refused(adapt_cfg):
    with pytest.raises(ValueError, match="epoch 0 cannot be trained on: all 48 images are noise"):
        run(given_clusters([[-1] * 48]), adapt_cfg())


def test_no_clusters_later_leave_those_of_before(adapt_cfg, capsys):
    eight = [number // 6 for number in range(48)]
    trainer = run(given_clusters([eight, [-1] * 48]), adapt_cfg())
    labels = trainer.data_loader.labels
    assert labels[-48:].tolist() == [SOURCE_IDENTITIES + cluster for cluster in eight]
    assert "epoch 1 cannot be trained on: all 48 images are noise" in capsys.readouterr().out


def test_source_with_too_few_identities_is_refused_before_training(adapt_cfg, tmp_path):
    few = write_source(tmp_path / "few", identities=3)
    cfg = adapt_cfg(DATASETS__SETS=[few])
    expected = (
        "in the half of SOLVER.IMS_PER_BATCH that DATASETS.SOURCES fills: a batch needs 4 different"
    )
    assert any(expected in problem for problem in preflight(cfg).problems)
    with pytest.raises(ValueError, match="a batch needs 4 different identities"):
        Trainer(cfg)


def test_target_that_is_its_own_source_is_refused_by_its_images(adapt_cfg, market_root):
    folder = market_root / "Market-1501-v15.09.15"
    cfg = adapt_cfg(DATASETS__SETS=[f"Shop={folder}"])
    found = preflight(cfg).problems
    assert any("48 images are in DATASETS.SOURCES and in DATASETS.NAMES" in text for text in found)


def test_too_little_room_for_clusters_is_refused(adapt_cfg):
    cfg = adapt_cfg(MODEL__HEADS__NUM_CLASSES=6)
    with pytest.raises(
        ValueError, match=r"room for the 5 identities of DATASETS.SOURCES and for tw"
    ):
        run(Trainer, cfg)


def test_target_of_one_camera_is_trained_on(adapt_cfg, market_root):
    folder = market_root / "Market-1501-v15.09.15/bounding_box_train"
    cfg = adapt_cfg(
        DATASETS__NAMES=("UnlabelledPersons",), DATASETS__FOLDER=str(folder), SOLVER__MAX_EPOCH=1
    )
    warnings = preflight(cfg).warnings
    assert any("all target images are of one camera (unlabelledpersons_0)" in w for w in warnings)
    trainer = run(Trainer, cfg)
    assert "clusters/ari" not in trainer.storage.histories()


def test_set_without_cameras_beside_the_target_is_named(adapt_cfg, market_root, tmp_path):
    folder = tmp_path / "crowd"
    folder.mkdir()
    for image in sorted((market_root / "Market-1501-v15.09.15/query").iterdir())[:4]:
        shutil.copy(image, folder)
    names = ("Market1501", "UnlabelledPersons")
    cfg = adapt_cfg(DATASETS__NAMES=names, DATASETS__FOLDER=str(folder))
    expected = "the cameras of UnlabelledPersons in DATASETS.NAMES are not known, so all its images"
    assert any(expected in warning for warning in preflight(cfg).warnings)


def test_cameras_join_one_after_the_other(adapt_cfg):
    seen = {}

    class Recording(Trainer):
        def after_step(self):
            super().after_step()
            hook = next(hook for hook in self._hooks if isinstance(hook, CurriculumLabels))
            labels = self.data_loader.labels[-48:]
            cameras = set(hook._cameras[labels >= 0].tolist())
            seen.setdefault(self.epoch, (tuple(hook._order), cameras))

    cfg = adapt_cfg(**CACL, SOLVER__MAX_EPOCH=4, SOLVER__ITERS_PER_EPOCH=1)
    run(Recording, cfg)
    orders = [seen[epoch][0] for epoch in range(4)]
    assert [len(order) for order in orders] == [1, 1, 2, 2]
    assert orders[2][:1] == orders[0]
    assert [len(seen[epoch][1]) for epoch in range(4)] == [1, 1, 2, 2]
    saved = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["pseudo_labels"]
    assert saved["cameras"] == list(orders[3])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"DATASETS__NAMES": ("UnlabelledPersons",)},
            "expected a target of several cameras for UNSUPERVISED.CURRICULUM, got unlabelled",
        ),
        ({"SOLVER__MAX_EPOCH": 1}, "MAX_EPOCH of at least the 2 cameras of the target, a stage"),
        ({"UNSUPERVISED__K1": 30}, "K1 is 30 nearest images, but camera .* which may be the first"),
    ],
)
def test_curriculum_that_cannot_be_is_refused(adapt_cfg, market_root, changes, expected):
    folder = market_root / "Market-1501-v15.09.15/bounding_box_train"
    if "DATASETS__NAMES" in changes:
        changes = changes | {"DATASETS__FOLDER": str(folder)}
    with pytest.raises(ValueError, match=expected):
        Trainer(adapt_cfg(**CACL | changes))


def test_clusters_last_for_a_period_and_the_teacher_is_clustered(adapt_cfg):
    labels = []

    class Watching(Trainer):
        def before_epoch(self):
            super().before_epoch()
            labels.append(self.data_loader.labels.copy())
            self.seen = self.model.steps, len(self.model.memory)

    trainer = run(Watching, adapt_cfg(**UNRN, SOLVER__MAX_EPOCH=3))
    assert np.array_equal(labels[0], labels[1])
    assert trainer.seen == (6, 0)  # the memory begins again with the clustering of the third epoch
    assert len(trainer.model.memory) == 20
    assert trainer.model.steps == 9
    assert len(trainer.model.centres) == SOURCE_IDENTITIES
    features = next(h for h in trainer._hooks if isinstance(h, DomainPseudoLabels))._features
    before = features.extract()
    for parameter in trainer.model.backbone.parameters():
        parameter.data.add_(1)
    assert torch.equal(features.extract(), before)


def test_labels_of_hcd_are_those_that_its_steps_have_made(adapt_cfg):
    """They are DBSCAN's in the first epoch and the model's own from the second on."""
    clustered = []
    after_epoch = []

    class Watching(Trainer):
        def build_method_hooks(self):
            hooks = super().build_method_hooks()
            (hook,) = [hook for hook in hooks if isinstance(hook, DomainPseudoLabels)]
            usual = hook._cluster
            hook._cluster = lambda features: clustered.append(self.epoch) or usual(features)
            return hooks

        def after_epoch(self):
            after_epoch.append(self.model.remembered_labels())
            super().after_epoch()

    cfg = adapt_cfg(**HCD, SOLVER__MAX_EPOCH=3)
    trainer = run(Watching, cfg)
    assert clustered == [0]
    assert not np.array_equal(after_epoch[0], after_epoch[1])
    labels = after_epoch[1]  # with which the third epoch began
    sizes = np.bincount(labels)
    shown = read_clusters(Path(cfg.OUTPUT_DIR) / "clusters.csv").clusters
    together = (labels[:, None] == labels[None, :]) & (sizes[labels] > 1)
    assert np.array_equal((shown[:, None] == shown[None, :]) & (shown >= 0), together)
    assert len(trainer.model.memory.features) == SOURCE_IDENTITIES + 48
