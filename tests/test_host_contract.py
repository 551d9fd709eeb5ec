"""Facts of fastreid 1.4.0 on which fastreid_ext.compat relies, and the effect of each repair.

Every repair has a test of its cause in the host (it fails when the host has changed; then the
repair can go) and of the repaired behaviour.
"""

import collections
import functools
import operator
import os
import subprocess
import sys
from pathlib import Path

import fastreid
import pytest
import torch
import torchvision
from fastreid.config import get_cfg
from fastreid.data import build as data_build
from fastreid.data.transforms import build_transforms
from fastreid.evaluation import ReidEvaluator
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from PIL import Image
from torch import nn

from fastreid_ext import compat
from fastreid_ext.compat import before_import

REPOSITORY = Path(__file__).resolve().parent.parent


def run_python(code, *, paths=(), flags=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), str(REPOSITORY)])}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


# --- imports


def test_host_fails_without_us_and_says_nothing_useful():
    """The day this passes without fastreid_ext, `prepare` can lose repairs."""
    result = run_python("import fastreid.engine")
    assert result.returncode == 1
    assert "Error" in result.stderr


def test_late_import_says_to_import_us_first():
    code = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("somebodys_repairs", {before_import.__file__!r})
repairs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(repairs)
repairs.prepare()  # else fastreid does not even import
import fastreid.evaluation.testing
import fastreid_ext
"""
    result = run_python(code)
    assert result.returncode == 1
    assert "expected `import fastreid_ext` before fastreid" in result.stderr
    assert "put it first in your script" in result.stderr


def test_missing_fastreid_says_what_to_type(tmp_path):
    """Run in an environment that holds every installed package except fastreid."""
    for folder in filter(os.path.isdir, sys.path):
        if "site-packages" in folder:
            for entry in Path(folder).iterdir():
                if not entry.name.startswith("fastreid") and not (tmp_path / entry.name).exists():
                    (tmp_path / entry.name).symlink_to(entry)
    result = run_python("import fastreid_ext", paths=[tmp_path], flags=["-S"])
    assert result.returncode == 1
    assert "pip install --no-deps fastreid==1.4.0" in result.stderr


def test_configuration_may_be_imported_first():
    """Import sorters put `fastreid.config` before `fastreid_ext`, so that order must work."""
    result = run_python("from fastreid.config import get_cfg; import fastreid_ext; print('fine')")
    assert result.stdout.strip() == "fine", result.stderr


REPAIRED = [
    "solver.build_optimizer",
    "engine.defaults.build_optimizer",
    "data.build.DataLoaderX",
    "data.transforms.build.T",
    "evaluation.ReidEvaluator._compile_dependencies",
    "modeling.meta_arch.baseline.Baseline.preprocess_image",
    "modeling.meta_arch.mgn.MGN.preprocess_image",
    "modeling.meta_arch.baseline.build_backbone",
    "modeling.backbones.regnet.regnet.regnet_cfg.merge_from_file",
    "modeling.losses.triplet_loss",
    "solver.build.get_default_optimizer_params",
    "solver.build._generate_optimizer_class_with_gradient_clipping",
    "modeling.meta_arch.baseline.cross_entropy_loss",
    "modeling.meta_arch.mgn.pairwise_cosface",
    "modeling.meta_arch.moco.Memory.forward",
    "modeling.meta_arch.moco.Memory._dequeue_and_enqueue",
    "modeling.meta_arch.mgn.MGN.forward",
    "layers.any_softmax.ArcSoftmax.forward",
    "utils.events.EventStorage.put_scalar",
    "utils.events.EventStorage.latest",
]


def test_repairs_twice_changes_nothing():
    before = [operator.attrgetter(name)(fastreid) for name in REPAIRED]
    compat.prepare()
    compat.repair()
    for name, repaired in zip(REPAIRED, before, strict=True):
        assert operator.attrgetter(name)(fastreid) is repaired, name


def test_old_names_are_back():
    from torch._six import string_classes

    assert issubclass(dict, collections.Mapping)
    assert isinstance("text", string_classes)
    assert torchvision.transforms.ToTensor()(Image.new("RGB", (2, 3))).shape == (3, 3, 2)


TRAPS = [
    ("provide_torch_six", "data/build.py", "from torch._six import"),
    ("provide_collections_mapping", "data/build.py", "from collections import Mapping"),
    ("provide_collections_mapping", "evaluation/testing.py", "from collections import Mapping"),
    ("keep_flat_gradients", "engine/train_loop.py", "self.optimizer.zero_grad()"),
    ("load_without_cuda", "data/data_utils.py", "self.stream = torch.cuda.Stream("),
    ("evaluate_without_compiler", "evaluation/rank_cylib/__init__.py", "sys.exit(1)"),
    ("accept_old_affine_arguments", "data/transforms/build.py", "resample=False"),
    ("normalise_out_of_place", "modeling/meta_arch/baseline.py", "images.sub_("),
    ("normalise_out_of_place", "modeling/meta_arch/mgn.py", "images.sub_("),
    ("find_regnet_files", "modeling/backbones/regnet/regnet.py", "'fastreid/modeling/backbones"),
    ("build_backbones_with", "modeling/backbones/resnet.py", "gdown.download("),
    ("compute_losses_in_full_precision", "modeling/losses/triplet_loss.py", "if loss == float("),
    ("compute_losses_in_full_precision", "modeling/losses/cross_entroy_loss.py", "loss.nonzero("),
    ("compute_margins_in_full_precision", "layers/any_softmax.py", "torch.where(targets != -1)"),
    ("keep_scalars_on_the_device", "utils/events.py", "value = float(value)"),
    ("check_labels_on_the_device", "modeling/meta_arch/baseline.py", "if targets.sum() < 0"),
    ("check_labels_on_the_device", "modeling/meta_arch/mgn.py", "if targets.sum() < 0"),
    ("check_labels_on_the_device", "modeling/meta_arch/distiller.py", "if targets.sum() < 0"),
    ("clip_all_gradients_together", "solver/build.py", "per_param_clipper=grad_clipper"),
    ("count_queue_on_the_device", "modeling/meta_arch/moco.py", "ptr = int(self.queue_ptr)"),
    ("build_backbones_with", "modeling/backbones/resnest.py", "load_state_dict_from_url("),
]


@pytest.mark.parametrize(("repair", "file", "cause"), TRAPS)
def test_host_still_has_the_trap(repair, file, cause):
    """When this fails the host has changed: look whether compat can lose the repair."""
    assert callable(getattr(compat, repair))
    assert cause in (Path(fastreid.__file__).parent / file).read_text()


# --- learning


def tiny_cfg(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512),
            *("MODEL.HEADS.NUM_CLASSES", 4, "MODEL.HEADS.WITH_BNNECK", True),
            *("INPUT.SIZE_TRAIN", [64, 32], *overrides),
        ]
    )
    return cfg


def learned(optimizer, model):
    """Whether two steps of a plain training loop move the parameters."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
    return any(
        not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)
    )


def test_host_learns_nothing_when_gradients_are_dropped():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4))
    optimizer, _ = build_optimizer(get_cfg(), model)
    optimizer.zero_grad = functools.partial(type(optimizer).zero_grad, optimizer)  # unrepaired
    assert not learned(optimizer, model)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_parameters_move_with_the_repair(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4))
    cfg = get_cfg()
    cfg.SOLVER.OPT = name
    optimizer, flat = build_optimizer(cfg, model)
    assert learned(optimizer, model)
    assert flat.buffer_is_valid()


# --- running


@pytest.mark.skipif(torch.cuda.is_available(), reason="the repair is for machines without a GPU")
def test_loader_works_without_cuda():
    data = [{"images": torch.ones(3) * i, "targets": i} for i in range(5)]
    loader = data_build.DataLoaderX(
        0, dataset=data, batch_size=2, pin_memory=True, collate_fn=data_build.fast_batch_collator
    )
    assert [batch["targets"].tolist() for batch in loader] == [[0, 1], [2, 3], [4]]


def test_evaluator_compiles_nothing(monkeypatch):
    monkeypatch.setenv("PATH", "")  # no make, no compiler
    folder = Path(fastreid.__file__).parent / "evaluation" / "rank_cylib"
    before = sorted(path.name for path in folder.iterdir())
    ReidEvaluator(get_cfg(), num_query=1)  # unrepaired, it ends the process here
    assert sorted(path.name for path in folder.iterdir()) == before


def test_affine_augmentation_runs():
    cfg = tiny_cfg("INPUT.AFFINE.ENABLED", True)
    image = build_transforms(cfg, is_train=True)(Image.new("RGB", (32, 64), "red"))
    assert image.shape == (3, 64, 32)


@pytest.mark.parametrize(
    ("architecture", "depth", "dim"), [("Baseline", "18x", 512), ("MGN", "50x", 2048)]
)
def test_forward_leaves_the_batch_alone(architecture, depth, dim):
    """fastreid normalises in place, so flip test-time augmentation would normalise twice."""
    cfg = tiny_cfg("MODEL.META_ARCHITECTURE", architecture)
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.FEAT_DIM", dim])
    model = build_model(cfg).eval()
    images = torch.rand(2, 3, 96, 32) * 255
    batch = {"images": images}
    original = images.clone()
    with torch.no_grad():
        first = model(batch)
        second = model(batch)
    assert torch.equal(images, original)
    assert torch.equal(first, second)


def test_freezing_takes_whole_names():
    """In the host FREEZE_LAYERS [b1] also matches b1_head: MGN's recipe froze the whole model."""
    from fastreid.solver import build

    model = nn.ModuleDict({"b1": nn.Linear(2, 2), "b1_head": nn.Linear(2, 2)})
    keys = {"base_lr": 1.0, "weight_decay": 0.0, "freeze_layers": ["b1"]}
    repaired = build.get_default_optimizer_params
    for function, frozen in ((repaired.__wrapped__, 4), (repaired, 2)):
        groups = function(model, **keys)
        assert sum(group["freeze_status"] == "freeze" for group in groups) == frozen


def test_regnet_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = tiny_cfg("MODEL.BACKBONE.NAME", "build_regnet_backbone", "MODEL.BACKBONE.DEPTH", "400x")
    cfg.MODEL.BACKBONE.FEAT_DIM = 384
    assert build_model(cfg).eval()({"images": torch.rand(2, 3, 64, 32)}).shape == (2, 384)


@pytest.mark.parametrize("backbone", ["resnet", "resnest", "osnet", "mobilenetv3"])
@pytest.mark.parametrize("architecture", ["Baseline", "MGN"])
def test_pretrain_without_a_file_is_refused_not_downloaded(backbone, architecture):
    cfg = tiny_cfg("MODEL.META_ARCHITECTURE", architecture, "MODEL.BACKBONE.PRETRAIN", True)
    cfg.MODEL.BACKBONE.NAME = f"build_{backbone}_backbone"
    with pytest.raises(ValueError, match=r"PRETRAIN_PATH is empty .* give a local file"):
        build_model(cfg)
