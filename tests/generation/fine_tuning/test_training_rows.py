"""Micro-batches: the random numbers of an identity do not depend on the others."""

import pytest
import torch

from fastreid_ext.generation.fine_tuning.settings import FineTuneTask, FineTuningSettings
from fastreid_ext.generation.fine_tuning.training_rows import TrainingRows


def task_of(base, name, seed, images=3, references=None):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, 32, 16), dtype=torch.uint8, generator=generator)
    return FineTuneTask(
        name=name,
        images=pixels,
        prompt=f"a photo of sks person {name}",
        reference_latents=references,
        seed=seed,
    )


def references_of(base, count=5):
    shape = base.latent_shape((32, 16))
    return torch.randn(count, *shape), torch.rand(count, *shape) * 0.01


def rows_of(base, tasks, **settings):
    return TrainingRows(base, tasks, FineTuningSettings(**settings))


def test_rows_are_ordered_by_identity_own_before_prior(base):
    shared = references_of(base)
    tasks = [task_of(base, "a", 0, references=shared), task_of(base, "b", 1)]
    rows = rows_of(base, tasks, batch_size=2)
    assert rows.identity_index == [0, 0, 0, 0, 1, 1]
    assert rows.is_prior == [False, False, True, True, False, False]
    (batch, *_) = rows.micro_batches(3, 1000)
    assert batch.clean.shape == batch.noise.shape == (6, *base.latent_shape((32, 16)))
    assert batch.steps.shape == (6,)


def test_micro_batches_of_an_identity_do_not_depend_on_the_others(base):
    shared = references_of(base)
    tasks = [task_of(base, str(k), k, images=2 + k, references=shared) for k in range(3)]
    together = list(rows_of(base, tasks).micro_batches(40, 1000))
    alone = list(rows_of(base, tasks[1:2]).micro_batches(40, 1000))
    for whole, single in zip(together, alone, strict=True):
        assert torch.equal(whole.steps[2:4], single.steps)
        assert torch.equal(whole.noise[2:4], single.noise)
        torch.testing.assert_close(whole.clean[2:4], single.clean)


def test_shared_reference_set_is_cached_once(base):
    shared = references_of(base)
    tasks = [task_of(base, str(k), k, references=shared) for k in range(4)]
    assert len(rows_of(base, tasks)._mean) == 4 * 3 + 5


def test_every_image_is_used_once_before_any_twice(base):
    task = task_of(base, "a", 0, images=5, references=references_of(base, 4))
    rows = rows_of(base, [task], batch_size=2)
    places = rows._indices(0, 10)  # 20 of 5 own images, 20 of 4 references
    own = places[:, :2].flatten()
    prior = places[:, 2:].flatten()
    for epoch in own.view(4, 5):
        assert sorted(epoch.tolist()) == [0, 1, 2, 3, 4]
    for epoch in prior.view(5, 4):
        assert sorted(epoch.tolist()) == [5, 6, 7, 8]
    assert len({tuple(epoch.tolist()) for epoch in own.view(4, 5)}) > 1


def test_latents_are_sampled_from_the_posterior_and_steps_from_the_schedule(base):
    task = task_of(base, "a", 0, images=1)
    batches = list(rows_of(base, [task]).micro_batches(400, 10))
    clean = torch.cat([batch.clean for batch in batches])
    noise = torch.cat([batch.noise for batch in batches])
    mean, std = base.encode_posterior(task.images)
    assert (clean.mean(dim=0) - mean[0]).abs().max() < 5 * std.max() / 400**0.5
    assert (clean.std(dim=0) / std[0]).mean() == pytest.approx(1, abs=0.02)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    # Noise and the place in the posterior are independent.
    assert (
        abs(torch.corrcoef(torch.stack([noise.flatten(), (clean - mean).flatten()]))[0, 1]) < 0.02
    )
    assert sorted({int(batch.steps) for batch in batches}) == list(range(10))
