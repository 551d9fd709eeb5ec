"""DAPG's chains and mixture on a batch, against the loader's own and against slow loops."""

import numpy as np
import pytest
import torch

from fastreid_ext.corruptions.gpu import corrupt_batch
from fastreid_ext.corruptions.record import RandomCorruption
from fastreid_ext.data.transforms.dapg_on_device import DapgOnDevice
from fastreid_ext.data.transforms.dapg_views import DapgPlan, DapgViews
from fastreid_ext.data.transforms.on_batch import build_batch_steps

# Without random numbers, so that CPU and batch agree; float32 rounds few values to a neighbour.
STILL = ("contrast", "pixelate", "gaussian_blur")


def sampled(images, names=STILL, **options):
    """Views of the loader, (B, V, 3, H, W), and the batch that it would send with three views."""
    options |= {"same_crop": False, "corruption": RandomCorruption(names=names)}
    plans = [
        DapgViews(**options).sample(np.random.default_rng(seed)) for seed in range(len(images))
    ]
    views = [
        DapgViews(**options).apply(list(own), plan) for own, plan in zip(images, plans, strict=True)
    ]
    batch = {
        "images": torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous(),
        "corruptions": ["|".join(plan.records()) for plan in plans],
    }
    return torch.from_numpy(np.array(views)).permute(0, 1, 4, 2, 3), batch, plans


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (5, 3, 48, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("clean_anchor", [False, True])
def test_views_equal_those_of_the_loader(clean, clean_anchor):
    expected, batch, _ = sampled(clean, clean_anchor=clean_anchor)
    before = batch["images"].clone()
    made = DapgOnDevice()(batch)
    assert made["images"].shape == (5, 4, 3, 48, 32)
    assert torch.equal(batch["images"], before)
    assert made["corruptions"] == batch["corruptions"]
    difference = (made["images"].int() - expected.int()).abs()
    assert difference.amax() <= 2  # of three corruptions, each at most one grey level
    assert (difference > 0).float().mean() < 0.02


def test_mixture_is_the_formula(clean):
    _, batch, plans = sampled(clean, ("fog", "gaussian_noise", "glass_blur"))
    made = DapgOnDevice()(batch)["images"]
    for image, plan, own in zip(batch["images"], plans, made, strict=True):
        q, k1, k2, k3 = own.double()
        w1, w2, w3 = plan.weights
        expected = (1 - plan.share) * image[0] + plan.share * (w1 * q + w2 * k1 + w3 * k2)
        assert (k3 - expected).abs().max() <= 0.5 + 1e-3


def test_chain_is_one_corruption_after_the_other(clean):
    _, batch, plans = sampled(clean, ("fog", "gaussian_noise", "glass_blur"))
    made = DapgOnDevice()(batch)["images"]
    first, second = plans[2].chains[1]
    step = corrupt_batch(batch["images"][2:3, 1], [first.name], [first.severity], [first.seed])
    step = corrupt_batch(step, [second.name], [second.severity], [second.seed])
    assert (made[2, 1].int() - step[0].int()).abs().max() <= 1


def test_mixture_at_the_ends(clean):
    _, batch, plans = sampled(clean[:1])
    chains = plans[0].chains
    for weights, share, place in (((1.0, 0.0, 0.0), 0.0, None), ((0.0, 1.0, 0.0), 1.0, 1)):
        record = "|".join(DapgPlan(chains, weights, share).records())
        made = DapgOnDevice()({"images": batch["images"], "corruptions": [record]})["images"][0]
        assert torch.equal(made[3], batch["images"][0, 0] if place is None else made[place])


def test_other_numbers_of_views_are_named(clean):
    _, batch, _ = sampled(clean)
    with pytest.raises(
        ValueError, match=r"expected images \(B, 3, 3, H, W\).*CORRUPTION.WHERE dev"
    ):
        DapgOnDevice()(batch | {"images": batch["images"][:, :2]})


def test_loader_and_steps_agree(config_of, picture):
    """The transform gives three clean views; the steps of the batch make rows of four."""
    changes = {"INPUT.VIEWS.RECIPE": "dapg", "INPUT.CORRUPTION.WHERE": "device"}
    cfg = config_of(changes)
    from fastreid_ext.data.dataset import collate
    from fastreid_ext.data.transforms import build_transforms

    batch = collate([build_transforms(cfg, is_train=True)(picture) for _ in range(2)])
    assert batch["images"].shape[:2] == (2, 3)
    for step in build_batch_steps(cfg, is_train=True):
        batch = step(batch)
    assert batch["images"].shape[0] == 8
    assert batch["images"].dtype == torch.float32
    assert batch["views"] == 4
    assert [text.split(":")[0] for text in batch["corruptions"][6:]] == ["mix", "mix"]
