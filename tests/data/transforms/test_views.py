"""Views of one image: what they share, what each recipe does, how they are recorded."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.corruptions.record import RandomCorruption, parse_record, replay
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.samplers import SampledIndex
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.augmix import AugMix
from fastreid_ext.data.transforms.dapg_views import DapgPlan, DapgViews
from fastreid_ext.data.transforms.multi_view import CilViews
from fastreid_ext.data.transforms.patch_mixing import PatchMixing
from fastreid_ext.data.transforms.soft_erasing import SoftErasing

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "contrast")
MOVED = {"INPUT.FLIP.ENABLED": True, "INPUT.PADDING.ENABLED": True}
RECIPES = {
    "independent": {"INPUT.VIEWS.COUNT": 2},
    "corrupted": {"INPUT.CORRUPTION.NAMES": list(NOISES)},
    "cil": {"INPUT.AUGMIX.METHOD": "paper"},
    "dapg": {"INPUT.CORRUPTION.NAMES": list(NOISES)},
}


def sample_of(config_of, picture, recipe, seed=1, **changes):
    cfg = config_of(MOVED | {"INPUT.VIEWS.RECIPE": recipe} | RECIPES[recipe] | changes)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    sample = build_transforms(cfg, is_train=True)(Image.fromarray(picture))
    return sample if isinstance(sample, dict) else {"images": sample}


def as_array(view):
    return view.byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("recipe", "views"), [("independent", 2), ("corrupted", 3), ("cil", 3), ("dapg", 4)]
)
def test_views_are_stacked_and_repeat_under_equal_seeds(config_of, picture, recipe, views):
    first = sample_of(config_of, picture, recipe, 1)
    again = sample_of(config_of, picture, recipe, 1)
    other = sample_of(config_of, picture, recipe, 2)
    assert first["images"].shape == (views, 3, 64, 32)
    assert first["images"].dtype == torch.uint8
    assert 1 < first["images"].max() <= 255
    assert torch.equal(first["images"], again["images"])
    assert not torch.equal(first["images"], other["images"])
    assert first.get("corruptions") == again.get("corruptions")
    assert ("corruptions" in first) == (recipe in ("corrupted", "dapg"))


def test_independent_views_differ_and_each_is_a_pass_of_its_own(config_of, picture):
    made = [
        sample_of(config_of, picture, "independent", seed, **{"INPUT.VIEWS.COUNT": 4})["images"]
        for seed in range(5)
    ]
    for views in made:
        assert len({view.numpy().tobytes() for view in views}) == 4


def test_corrupted_views_are_the_clean_one_corrupted_as_recorded(config_of, picture):
    sample = sample_of(config_of, picture, "corrupted", **{"INPUT.CORRUPTION.COUNT": 2})
    records = sample["corruptions"].split("|")
    assert records[0] == ""
    assert [len(parse_record(text)) for text in records] == [0, 2, 2]
    clean = as_array(sample["images"][0])
    for view, text in zip(sample["images"], records, strict=True):
        assert np.array_equal(as_array(view), replay(clean, text))
    assert not torch.equal(sample["images"][1], sample["images"][2])


def test_corrupted_views_on_the_device_are_equal_here(config_of, picture):
    sample = sample_of(config_of, picture, "corrupted", **{"INPUT.CORRUPTION.WHERE": "device"})
    assert torch.equal(sample["images"][0], sample["images"][1])
    assert [bool(text) for text in sample["corruptions"].split("|")] == [False, True, True]


def test_views_of_own_crops(config_of, picture):
    images = {
        crop: sample_of(
            config_of,
            picture,
            "corrupted",
            **{"INPUT.CORRUPTION.WHERE": "device", "INPUT.VIEWS.CROP": crop},
        )["images"]
        for crop in ("shared", "separate")
    }
    assert torch.equal(images["shared"][0], images["shared"][1])
    assert not torch.equal(images["separate"][0], images["separate"][1])


@pytest.mark.parametrize("crop", ["", "shared", "separate"])
def test_dapg_chain_is_replayed_from_its_record(config_of, picture, crop):
    changes = {"INPUT.VIEWS.CROP": crop}
    sample = sample_of(config_of, picture, "dapg", **changes)
    q, k1, k2, k3 = sample["corruptions"].split("|")
    chains = [parse_record(text) for text in (q, k1, k2)]
    kinds = [[corruption.name for corruption in chain] for chain in chains]
    n1, n2, n3 = kinds[2]
    assert len({n1, n2, n3}) == 3
    assert kinds == [[n1], [n1, n2], [n1, n2, n3]]
    word, *numbers = k3.split(":")
    assert word == "mix"
    assert sum(map(float, numbers[:3])) == pytest.approx(1, abs=1e-6)
    assert 0 <= float(numbers[3]) <= 1
    if crop == "shared":
        still = MOVED | {"INPUT.PADDING.SIZE": 0, "INPUT.FLIP.PROB": 0.0}
        clean = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
        sample = sample_of(config_of, picture, "dapg", **changes, **still)
        views = [as_array(view) for view in sample["images"]]
        texts = sample["corruptions"].split("|")
        for view, text in zip(views[:3], texts, strict=False):
            assert np.array_equal(view, replay(clean, text))
        again = dapg().apply([clean] * 3, DapgPlan.parse(texts))
        assert all(np.array_equal(one, other) for one, other in zip(again, views, strict=True))
        *weights, share = map(float, texts[3].split(":")[1:])
        mixed = sum(w * view.astype(float) for w, view in zip(weights, views, strict=False))
        expected = (1 - share) * clean + share * mixed
        assert np.abs(views[3] - expected).max() <= 0.5 + 1e-3


def dapg(severities=(1, 5)):
    return DapgViews(
        same_crop=False, corruption=RandomCorruption(names=NOISES, severities=severities)
    )


def test_dapg_plan_applies_n1_to_all_three_views(picture):
    recipe = dapg()
    plan = recipe.sample(np.random.default_rng(0))
    views = [picture, picture[::-1].copy(), picture[:, ::-1].copy()]
    before = [view.copy() for view in views]
    q, k1, k2, k3 = recipe.apply(views, plan)
    (a,), (b, c), (d, e, f) = plan.chains
    assert np.array_equal(q, a.apply(views[0]))
    assert np.array_equal(k1, c.apply(b.apply(views[1])))
    assert np.array_equal(k2, f.apply(e.apply(d.apply(views[2]))))
    assert a.name == b.name == d.name
    assert c.name == e.name
    w1, w2, w3 = plan.weights
    mixed = w1 * q.astype(float) + w2 * k1 + w3 * k2
    assert np.abs(k3 - ((1 - plan.share) * views[0] + plan.share * mixed)).max() <= 0.5 + 1e-3
    assert all(np.array_equal(a, b) for a, b in zip(views, before, strict=True))


def test_dapg_mixture_at_the_ends(picture):
    recipe = dapg()
    sampled = dapg().sample(np.random.default_rng(1))
    views = [picture] * 3
    assert np.array_equal(
        recipe.apply(views, DapgPlan(sampled.chains, sampled.weights, 0.0))[3], picture
    )
    q, k1, _, k3 = recipe.apply(views, DapgPlan(sampled.chains, (0.0, 1.0, 0.0), 1.0))
    assert np.array_equal(k3, k1)
    assert not np.array_equal(k3, q)


def test_dapg_samples_severities_for_each_application():
    recipe = dapg((1, 2, 3, 4, 5))
    rng = np.random.default_rng(0)
    plans = [recipe.sample(rng) for _ in range(600)]
    first = np.array([plan.chains[0][0].severity for plan in plans])
    second = np.array([plan.chains[1][0].severity for plan in plans])
    assert 0.15 < (first == second).mean() < 0.25
    assert abs(first.mean() - 3) < 0.2
    assert all(plan.chains[0][0].seed != plan.chains[1][0].seed for plan in plans)
    shares = np.array([plan.share for plan in plans])
    assert abs(shares.mean() - 0.5) < 0.05


def test_dapg_plan_is_read_again():
    plan = dapg().sample(np.random.default_rng(2))
    assert DapgPlan.parse(plan.records()) == plan
    with pytest.raises(ValueError, match=r"the last as mix:w1:w2:w3:m, got \['fog:1:2'\]; split"):
        DapgPlan.parse(["fog:1:2"])


def test_dapg_needs_three_kinds():
    with pytest.raises(ValueError, match=r"at least 3 kinds of corruptions, got 2; name more"):
        DapgViews(same_crop=True, corruption=RandomCorruption(names=NOISES[:2]))


def test_cil_views_are_clean_then_erased_mixed_and_augmixed(config_of, picture):
    still = {"INPUT.PADDING.SIZE": 0, "INPUT.FLIP.PROB": 0.0}
    clean = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
    sample = sample_of(config_of, picture, "cil", **still)
    assert np.array_equal(as_array(sample["images"][0]), clean)
    assert not torch.equal(sample["images"][1], sample["images"][2])
    transform = build_transforms(
        config_of({"INPUT.VIEWS.RECIPE": "cil", "INPUT.AUGMIX.METHOD": "paper"}), is_train=True
    )
    augmix = transform.views.augmix
    assert (augmix.severity, augmix.width, augmix.probability) == (3, 3, 1.0)
    assert (augmix.depth, augmix.alpha) == (-1, 1.0)


class Recorder:
    """A step that notes what it is given and passes it on."""

    def __init__(self, mark, log, step=None):
        self.mark = mark
        self.log = log
        self.step = step

    def __call__(self, image, rng):
        self.log.append(self.mark)
        return self.step(image, rng) if self.step else image


def test_cil_order():
    log = []
    names = ("erasing", "mixing", "augmix")
    views = CilViews(count=3, same_crop=True, **{name: Recorder(name, log) for name in names})

    class Parts:
        @staticmethod
        def passes(image, rng, count, *, same):
            log.append(("passes", count, same))
            return [(image, "")] * count

    views("image", np.random.default_rng(0), Parts)
    assert log == [("passes", 3, True), *names, *names]


@pytest.mark.parametrize(
    ("erased", "clean_is_erased", "further_agree"),
    [("each", False, False), ("shared", False, True), ("all", True, True)],
)
def test_cil_erasing_may_be_shared(config_of, picture, erased, clean_is_erased, further_agree):
    views = build_transforms(
        config_of({"INPUT.VIEWS.RECIPE": "cil", "INPUT.AUGMIX.METHOD": "paper"}), is_train=True
    )
    recipe = CilViews(
        count=3,
        same_crop=True,
        erasing=SoftErasing(probability=1.0, mean=(9, 9, 9), std=(50, 50, 50)),
        mixing=PatchMixing(probability=1.0),
        augmix=AugMix(probability=0.0),
        erased=erased,
    )
    rng = np.random.default_rng(0)
    made = [array for array, _ in recipe(Image.fromarray(picture), rng, views.parts)]
    resized = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
    assert np.array_equal(made[0], resized) != clean_is_erased
    assert np.array_equal(made[1], made[2]) == further_agree
    assert np.array_equal(made[0], made[1]) == clean_is_erased
    assert not np.array_equal(made[1], resized)


def test_unknown_erasing_is_named():
    with pytest.raises(ValueError, match=r"expected erased each, shared, all, got 'none'"):
        CilViews(count=3, same_crop=True, erasing=None, mixing=None, augmix=None, erased="none")


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_image_is_decoded_once_for_all_its_views(config_of, recipe):
    dataset = build_train_loader(
        config_of({"INPUT.VIEWS.RECIPE": recipe} | RECIPES[recipe])
    ).dataset
    read = []

    def counting(path):
        read.append(path)
        return read_rgb(path)

    dataset.read = counting
    sample = dataset[SampledIndex(3, 0, seed=5)]
    assert len(read) == 1
    assert sample["images"].ndim == 4


def test_dapg_clean_anchor(picture):
    recipe = DapgViews(
        same_crop=False, corruption=RandomCorruption(names=NOISES), clean_anchor=True
    )
    plan = recipe.sample(np.random.default_rng(0))
    assert [len(chain) for chain in plan.chains] == [0, 2, 3]
    assert DapgPlan.parse(plan.records()) == plan
    q, k1, _, _ = recipe.apply([picture] * 3, plan)
    assert np.array_equal(q, picture)
    assert not np.array_equal(k1, picture)
