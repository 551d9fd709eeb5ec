"""Training on a labelled source and a target that is clustered again between epochs."""

from typing import Any

import numpy as np
import pytest
import torch
from fastreid.engine.hooks import HookBase
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from fastreid_ext.data.build import build_items_loader, build_train_loader
from fastreid_ext.data.configured_sets import TrainingItems, training_items
from fastreid_ext.data.joined import JoinedLoaders
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.modes import modes_kept
from fastreid_ext.evaluation.features import extract_features

from .tiny import assert_equal_checkpoints, run


@META_ARCH_REGISTRY.register()
class AdaptedBaseline(Baseline):
    """Baseline on the source; in the target images of a cluster are sampled together."""

    def forward(self, batch: dict[str, Any]) -> Any:
        if not self.training:
            return super().forward(batch)
        losses = super().forward(batch["source"])
        target = batch["target"]
        features = self.backbone(self.preprocess_image(target)).mean(dim=(2, 3))
        same = (target["targets"][:, None] == target["targets"]).float()
        centres = same @ features / same.sum(1, keepdim=True)
        losses["loss_target"] = (features - centres).pow(2).mean()
        return losses


class Clustering(HookBase):
    """Cluster the target before every second epoch; images far from all centres are left out."""

    def __init__(self) -> None:
        self.labels: list[NDArray[np.int64]] = []

    def before_epoch(self) -> None:
        if self.trainer.epoch % 2:
            return
        cfg = self.trainer.cfg
        model = self.trainer.model
        items = self.trainer.data_loader.loaders["target"].dataset.img_items
        with modes_kept(model), torch.no_grad():
            features = extract_features(model, build_items_loader(cfg, items), 0).features
        clusters = KMeans(6, n_init=1, random_state=0).fit(features)
        far = clusters.transform(features).min(axis=1).argsort()[-4:]
        labels = clusters.labels_.astype(np.int64)
        labels[far] = -1
        self.labels.append(labels)
        self.trainer.relabel(labels, of="target")


class AdaptingTrainer(Trainer):
    @classmethod
    def build_train_loader(cls, cfg: Any) -> JoinedLoaders:
        source = build_train_loader(cfg)
        paths = training_items(cfg).items.paths
        unlabelled = [(path, place, 0) for place, path in enumerate(paths)]
        images = cfg.clone()
        images.defrost()
        images.SOLVER.IMS_PER_BATCH = 6
        target = build_train_loader(images, TrainingItems.given(unlabelled), name="target")
        return JoinedLoaders({"source": source, "target": target})

    def build_method_hooks(self) -> list[HookBase]:
        self.clustering = Clustering()
        return [*super().build_method_hooks(), self.clustering]


CHANGES = {
    "MODEL__META_ARCHITECTURE": "AdaptedBaseline",
    "SOLVER__ITERS_PER_EPOCH": 2,
    "SOLVER__MAX_EPOCH": 3,
    "SOLVER__BASE_LR": 1e-3,
    "DATALOADER__NUM_WORKERS": 1,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*smaller than n_clusters")
def test_run_of_two_loaders_with_changing_labels_resumes_to_the_same_checkpoint(make_cfg):
    whole = make_cfg("whole", **CHANGES)
    stopped = make_cfg("stopped", **CHANGES)
    trainer = run(AdaptingTrainer, whole)
    assert len(trainer.clustering.labels) == 2
    assert {"loss_cls", "loss_target"} <= set(trainer.storage.histories())
    # The second epoch goes on with the clusters of the first, which are in its checkpoint.
    run(AdaptingTrainer, stopped, stop_at=3)
    trainer = run(AdaptingTrainer, stopped, resume=True)
    assert trainer.start_iter == 2
    assert len(trainer.clustering.labels) == 1
    assert_equal_checkpoints(whole.OUTPUT_DIR, stopped.OUTPUT_DIR)
