import itertools

import numpy as np
import pytest
import torch

from fastreid_ext.data.build import build_test_loader, build_train_loader

from .conftest import write_market


def first_batches(loader, count):
    batches = iter(loader)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a["img_paths"] == b["img_paths"]
        assert torch.equal(a["images"], b["images"])
        assert torch.equal(a["targets"], b["targets"])


@pytest.fixture(scope="session")
def whole_run(market_root):
    from .conftest import small_config

    return first_batches(build_train_loader(small_config(market_root)), 8)


@pytest.mark.parametrize("workers", [1, 2])
def test_train_loader_does_not_depend_on_workers(make_cfg, whole_run, workers):
    loader = build_train_loader(make_cfg(DATALOADER__NUM_WORKERS=workers))
    assert_same(first_batches(loader, 8), whole_run)


@pytest.mark.parametrize("workers", [0, 2])
def test_train_loader_resumes_at_any_iteration(make_cfg, whole_run, workers):
    loader = build_train_loader(make_cfg(DATALOADER__NUM_WORKERS=workers))
    loader.start_at(5)
    assert_same(first_batches(loader, 3), whole_run[5:])


def test_train_loader_without_seed_resumes_with_its_random_seed(make_cfg):
    first = build_train_loader(make_cfg(SEED=-1))
    whole = first_batches(first, 4)
    resumed = build_train_loader(make_cfg(SEED=-1))
    resumed.start_at(2, seed=first.seed)
    assert_same(first_batches(resumed, 2), whole[2:])


def test_train_loader_augments_an_image_differently_each_time(whole_run):
    by_path = {}
    for batch in whole_run:
        for path, image in zip(batch["img_paths"], batch["images"], strict=True):
            by_path.setdefault(path, []).append(image)
    repeated = [images for images in by_path.values() if len(images) > 1]
    assert repeated
    assert any(not torch.equal(images[0], images[1]) for images in repeated)


def test_train_loader_starts_with_the_first_batch(make_cfg, whole_run):
    loader = build_train_loader(make_cfg(DATALOADER__NUM_WORKERS=2))
    batches = iter(loader)
    loader.start_at(3)  # still obeyed
    assert_same([next(batches)], whole_run[3:4])
    batches.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_train_loader_keeps_the_process_wide_generators(make_cfg, workers):
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    expected = torch.rand(1).item(), np.random.random()  # noqa: NPY002
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    first_batches(build_train_loader(make_cfg(DATALOADER__NUM_WORKERS=workers)), 2)
    assert (torch.rand(1).item(), np.random.random()) == expected  # noqa: NPY002


def test_train_loader_batch_has_the_keys_of_fastreid(whole_run):
    batch = whole_run[0]
    assert batch["images"].shape == (8, 3, 32, 16)
    assert batch["images"].dtype == torch.float32
    assert 1 < batch["images"].max() <= 255
    assert batch["targets"].dtype == batch["camids"].dtype == torch.int64
    identities, counts = batch["targets"].unique(return_counts=True)
    assert counts.tolist() == [2] * 4
    assert identities.max() < 8


def test_train_loader_passes_errors_of_workers_on(make_cfg, tmp_path):
    write_market(tmp_path / "Market-1501-v15.09.15")
    for path in (tmp_path / "Market-1501-v15.09.15" / "bounding_box_train").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    loader = build_train_loader(make_cfg(tmp_path, DATALOADER__NUM_WORKERS=1))
    with pytest.raises(OSError, match=r"cannot read image .*_00\.jpg"):
        first_batches(loader, 1)


@pytest.mark.slow
def test_train_loader_refuses_impossible_batches(make_cfg):
    with pytest.raises(
        ValueError, match=r"needs 10 different identities .* there are 8; lower SOLV"
    ):
        build_train_loader(make_cfg(SOLVER__IMS_PER_BATCH=20))


def test_random_patch_warns_about_workers(make_cfg, caplog):
    build_train_loader(make_cfg(INPUT__RPT__ENABLED=True))
    assert "does not resume exactly" in caplog.text


def test_once_per_identity_epoch_has_every_identity(make_cfg):
    cfg = make_cfg(DATALOADER__SAMPLER_TRAIN="OncePerIdentitySampler")
    whole = first_batches(build_train_loader(cfg), 5)
    for epoch in (whole[:2], whole[2:4]):  # 8 identities x 2 images / 8
        assert torch.cat([b["targets"] for b in epoch]).bincount().tolist() == [2] * 8
    resumed = build_train_loader(make_cfg(DATALOADER__SAMPLER_TRAIN="OncePerIdentitySampler"))
    resumed.start_at(3)
    assert_same(first_batches(resumed, 2), whole[3:])


def test_once_per_identity_excludes_a_share_of_generated_images(make_cfg):
    cfg = make_cfg(DATALOADER__SAMPLER_TRAIN="OncePerIdentitySampler").clone()
    cfg.defrost()
    cfg.DATASETS.GENERATED.BATCH_SHARE = 0.5
    with pytest.raises(
        ValueError, match=r"and so does DATALOADER.SAMPLER_TRAIN OncePerIdent.* to 0"
    ):
        build_train_loader(cfg)


@pytest.mark.parametrize("workers", [0, 1])
def test_test_loader_has_queries_first(make_cfg, workers):
    loader, num_query = build_test_loader(make_cfg(TEST__NUM_WORKERS=workers), "Market1501")
    batches = list(loader)
    paths = [path for batch in batches for path in batch["img_paths"]]
    assert loader.num_workers == workers
    assert (num_query, len(loader), len(paths)) == (6, 3, 18)
    assert paths == sorted(paths[:6]) + sorted(paths[6:])
    assert all("/query/" in path for path in paths[:6])
    assert batches[0]["targets"][:2].tolist() == [9, 9]
    assert batches[0]["camids"][:2].tolist() == [0, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_train_loader_batches_on_gpu_equal_those_on_cpu(make_cfg, whole_run):
    cfg = make_cfg(MODEL__DEVICE="cuda", DATALOADER__NUM_WORKERS=2)
    batches = first_batches(build_train_loader(cfg), 8)
    assert all(batch["images"].is_cuda and batch["targets"].is_cuda for batch in batches)
    assert_same(
        [{**b, "images": b["images"].cpu(), "targets": b["targets"].cpu()} for b in batches],
        whole_run,
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_train_loader_passes_errors_on_from_the_gpu(make_cfg, tmp_path):
    write_market(tmp_path / "Market-1501-v15.09.15")
    for path in (tmp_path / "Market-1501-v15.09.15" / "bounding_box_train").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    cfg = make_cfg(tmp_path, MODEL__DEVICE="cuda", DATALOADER__NUM_WORKERS=1)
    with pytest.raises(OSError, match="cannot read image"):
        first_batches(build_train_loader(cfg), 1)
