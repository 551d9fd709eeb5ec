import pytest
import torch

from fastreid_ext.evaluation import feature_rows
from fastreid_ext.evaluation.feature_rows import FeatureRows
from measuring.own_process import measured_alone
from measuring.timing import peak_extra_mib


@pytest.mark.parametrize("rows_of_a_block", [1, 3, 4, 1000])
def test_joined_rows_keep_the_order_of_batches(rows_of_a_block, monkeypatch):
    monkeypatch.setattr(feature_rows, "_BLOCK_BYTES", rows_of_a_block * 4 * 5)
    batches = [torch.randn(size, 5) for size in (4, 4, 0, 7, 1)]
    rows = FeatureRows()
    for batch in batches:
        rows.append(batch)
    assert torch.equal(rows.joined(), torch.cat(batches))
    assert rows.joined().shape == (0, 0)  # emptied


def test_append_copies_half_precision_to_float32():
    rows = FeatureRows()
    batch = torch.ones(2, 3, dtype=torch.float16, requires_grad=True)
    rows.append(batch)
    batch.data.zero_()
    joined = rows.joined()
    assert joined.dtype == torch.float32
    assert torch.equal(joined, torch.ones(2, 3))


def collect():
    rows = FeatureRows()
    for _ in range(256):
        rows.append(torch.ones(128, 2048))
    assert rows.joined().sum() == 256 * 128 * 2048


def send_peaks(pipe):
    pipe.send([peak_extra_mib(collect, "cpu") for _ in range(3)])


@pytest.mark.slow
def test_joined_needs_memory_for_one_copy():
    """256 MiB of features in batches of 1 MiB; torch.cat would need 512.

    In a new process: here tensors may lie in holes that earlier tests left in the heap, and glibc
    does not give holes back. The system may count freed memory for a while, so the least of three
    is the need.
    """
    peaks = measured_alone(send_peaks)
    assert 255 < min(peaks) < 256 + 150
