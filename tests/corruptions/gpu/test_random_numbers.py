import math

import numpy as np
import pytest
import torch

from fastreid_ext.corruptions.gpu.random_numbers import keys_of, random_bits

WORD = 2**64


def lea(word):
    """Lea's mixing function in Python's integers."""
    for _ in range(2):
        word = (word ^ (word >> 32)) * 0xDABA0B6EB09322E3 % WORD
    return word ^ (word >> 32)


def test_bits_are_the_hash_of_key_and_counter():
    keys = [0, 1, -1, 2**62, -(2**63)]
    bits = random_bits(torch.tensor(keys), 5)
    for row, key in zip(bits.tolist(), keys, strict=True):
        words = [lea((key + i * 0x9E3779B97F4A7C15) % WORD) for i in (1, 2, 3)]
        halves = [half for word in words for half in (word % 2**32, word >> 32)]
        assert [bit % 2**32 for bit in row] == halves[:5]


def test_keys_hash_seed_and_stream():
    keys = keys_of(np.array([0, 7, 2**63 - 1]), np.array([0, 3, 19]))
    for key, seed, stream in zip(keys.tolist(), (0, 7, 2**63 - 1), (0, 3, 19), strict=True):
        assert key % WORD == lea((lea(seed) + (stream + 1) * 0x9E3779B97F4A7C15) % WORD)


def test_a_sample_does_not_depend_on_its_neighbours_or_on_how_much_is_sampled():
    keys = torch.tensor([5, 9, -3])
    together = random_bits(keys, 1000)
    assert together[1:2].equal(random_bits(keys[1:2], 1000))
    assert together[:, :77].equal(random_bits(keys, 77))


def test_every_bit_is_a_fair_coin_without_memory(bucket_of):
    """Neighbouring seeds and counters: each bit, and its agreement with the next one's."""
    bits = bucket_of([1] * 64, range(64)).bits(20_000)
    for pairs in (
        bits,
        bits[1:] ^ bits[:-1],
        bits[:, 1:] ^ bits[:, :-1],
        bits[:, 2:] ^ bits[:, :-2],
    ):
        for place in range(32):
            share = ((pairs >> place) & 1).double().mean().item()
            assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(pairs.numel())


def test_signed_uniforms(bucket_of):
    values = bucket_of([1] * 32, range(32)).signed_uniforms(50, 400).double()
    assert values.shape == (32, 50, 400)
    assert values.abs().max() < 1
    counts = torch.histc(values, 100, -1, 1)
    expected = values.numel() / 100
    assert ((counts - expected) ** 2 / expected).sum() < 99 + 5 * math.sqrt(2 * 99)
    next_seed = (values[1:] * values[:-1]).mean() * 3
    assert abs(next_seed) < 4 / math.sqrt(values.numel())


def test_normals(bucket_of):
    values = bucket_of([1] * 32, range(32)).scaled_normals(20_000).double() * math.sqrt(2)
    error = 1 / math.sqrt(values.numel())
    assert abs(values.mean()) < 4 * error
    assert abs(values.square().mean() - 1) < 4 * math.sqrt(2) * error
    assert abs(values.pow(4).mean() - 3) < 4 * math.sqrt(96) * error
    for quantile in (-3.0, -1.0, 0.5, 2.0, 4.0):
        share = 0.5 * math.erfc(-quantile / math.sqrt(2))
        found = (values < quantile).double().mean()
        assert abs(found - share) < 5 * math.sqrt(share * (1 - share)) * error


def test_host_uniforms(bucket_of):
    values = bucket_of([1] * 2000, range(2000)).host_uniforms(3)
    assert values.shape == (2000, 3)
    assert ((values >= 0) & (values < 1)).all()
    assert np.abs(values.mean(axis=0) - 0.5).max() < 4 * math.sqrt(1 / 12 / 2000)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 4 / math.sqrt(2000)


def test_constants_are_those_of_each_severity(bucket_of):
    bucket = bucket_of([5, 1, 3])
    assert bucket.constants((1.0, 2.0, 3.0, 4.0, 5.0)).flatten().tolist() == [5, 1, 3]
    assert bucket.part(slice(1, 3)).constants((1.0, 2.0, 3.0, 4.0, 5.0)).shape == (2, 1, 1, 1)


@pytest.mark.gpu
def test_bits_are_equal_on_cuda(bucket_of):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    keys = bucket_of([1] * 9, range(9)).keys
    assert random_bits(keys.cuda(), 12_345).cpu().equal(random_bits(keys, 12_345))
