"""Checkpoints are whole or absent; what does not fit a model is refused in words."""

import os
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from fastreid_ext.engine.checkpoint import AtomicCheckpointer, read_checkpoint


class Net(nn.Module):
    """A backbone of four tensors and a classifier."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.second = nn.Linear(width, width)
        self.heads = nn.Linear(width, classes, bias=False)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with one good checkpoint, ``model_0000.pth``."""
    AtomicCheckpointer(Net(), str(tmp_path)).save("model_0000", epoch=0)
    return tmp_path


def test_round_trip_is_weights_only_and_tags_the_file(folder):
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    net.first(torch.ones(4)).sum().backward()
    optimizer.step()
    AtomicCheckpointer(net, str(folder), optimizer=optimizer).save("model_0001", epoch=1)
    assert (folder / "last_checkpoint").read_text() == "model_0001.pth"
    other = Net()
    other_optimizer = torch.optim.Adam(other.parameters())
    extra = AtomicCheckpointer(other, str(folder), optimizer=other_optimizer).resume()
    assert extra == {"epoch": 1}
    assert torch.equal(net.first.weight, other.first.weight)
    assert len(other_optimizer.state_dict()["state"]) == 2


def test_full_disk_leaves_the_earlier_checkpoint_and_says_so(folder):
    checkpointer = AtomicCheckpointer(Net(width=600), str(folder))  # 1.4 MB
    before = (folder / "model_0000.pth").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # as a disk that is full
    try:
        with pytest.raises(OSError, match=r"could not write .*model_0001\.pth.*MiB free") as error:
            checkpointer.save("model_0001")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Last whole checkpoint: " in str(error.value)
    assert "--resume" in str(error.value)
    assert sorted(path.name for path in folder.iterdir()) == ["last_checkpoint", "model_0000.pth"]
    assert (folder / "last_checkpoint").read_text() == "model_0000.pth"
    assert (folder / "model_0000.pth").read_bytes() == before


def test_nan_weights_are_not_saved(folder):
    net = Net()
    with torch.no_grad():
        net.second.bias[1] = float("nan")
    with pytest.raises(FloatingPointError, match=r"second\.bias.*last good one is .*model_0000"):
        AtomicCheckpointer(net, str(folder)).save("model_0001")
    assert not (folder / "model_0001.pth").exists()


def test_truncated_file_is_named_with_the_whole_ones_beside_it(folder):
    data = (folder / "model_0000.pth").read_bytes()
    (folder / "model_0001.pth").write_bytes(data[: len(data) // 2])
    (folder / "last_checkpoint").write_text("model_0001.pth")
    with pytest.raises(ValueError, match=r"cannot read .*model_0001.*cut off.*model_0000\.pth"):
        AtomicCheckpointer(Net(), str(folder)).resume()


def test_file_of_another_kind_is_refused(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"under the key 'model'.*got \['first\.bias'.*PRETRAIN"):
        read_checkpoint(tmp_path / "bare.pth")


class MakesFile:
    """A pickle of this would create a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_is_no_checkpoint_is_told_as_for_pre_trained_weights(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(safetensors.torch.save(Net().state_dict()))
    with pytest.raises(ValueError, match=r"got a safetensors file: .*PRETRAIN_PATH"):
        read_checkpoint(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ValueError, match=r"is a Git LFS pointer"):
        read_checkpoint(path)
    torch.save({"model": MakesFile(tmp_path / "made")}, path)
    with pytest.raises(ValueError, match=r"was not loaded, since they could run code: posix"):
        read_checkpoint(path)
    assert not (tmp_path / "made").exists()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*gone\.pth"):
        AtomicCheckpointer(Net()).load(str(tmp_path / "gone.pth"))


def test_other_architecture_is_refused_and_leaves_the_model(folder):
    net = Net(width=16)
    before = net.first.weight.clone()
    expected = r"is not a checkpoint of this model: expected at least 90%.*got 0%.*reshaped"
    with pytest.raises(ValueError, match=expected):
        AtomicCheckpointer(net).load(str(folder / "model_0000.pth"))
    assert torch.equal(net.first.weight, before)


def test_other_number_of_classes_loads_but_does_not_resume(folder):
    source = torch.load(folder / "model_0000.pth", weights_only=True)["model"]
    net = Net(classes=7)
    AtomicCheckpointer(net).load(str(folder / "model_0000.pth"))
    assert torch.equal(net.second.weight, source["second.weight"])
    with pytest.raises(ValueError, match="classifiers of another number of classes"):
        AtomicCheckpointer(Net(classes=7), str(folder)).resume()


def test_optimizer_of_other_groups_is_refused(folder):
    net = Net()
    one = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    AtomicCheckpointer(net, str(folder), optimizer=one).save("model_0001")
    two = torch.optim.SGD([{"params": net.first.parameters()}], lr=0.1)
    with pytest.raises(ValueError, match=r"the optimizer of .* does not fit this run.*SOLVER"):
        AtomicCheckpointer(Net(), str(folder), optimizer=two).resume()
