"""Files and folders of every kind are read, and nothing in them is run."""

import argparse
import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from fastreid_ext.modeling.pretrained import read_weights

WEIGHTS = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(2)}


def same(tensors):
    return tensors.keys() == WEIGHTS.keys() and all(
        torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS
    )


@pytest.mark.parametrize("wrapper", ["", "model", "state_dict", "teacher", "network.model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes_are_removed(wrapper, prefix, tmp_path):
    content = {prefix + name: value for name, value in WEIGHTS.items()}
    for key in reversed(wrapper.split(".") if wrapper else []):
        content = {key: content, "epoch": 3, "optimizer": {"state": {0: torch.ones(1)}}}
    torch.save(content, tmp_path / "weights.tar")
    file = read_weights(tmp_path / "weights.tar")
    assert same(file.tensors)
    assert file.wrapper == wrapper
    assert ("optimizer" in file.others) == bool(wrapper)


def test_old_format_and_numpy_arrays_are_read(tmp_path):
    arrays = {name: value.numpy() for name, value in WEIGHTS.items()}
    torch.save({"model": arrays}, tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "old.pkl").tensors)


def test_arguments_and_numpy_numbers_are_harmless(tmp_path):
    content = {"model": WEIGHTS, "args": argparse.Namespace(lr=1), "best": np.float64(3.0)}
    torch.save(content, tmp_path / "dino.pth")
    assert same(read_weights(tmp_path / "dino.pth").tensors)


def test_safetensors_are_recognised_by_content(tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "weights.bin")
    assert same(read_weights(tmp_path / "weights.bin").tensors)


# --- folders


@pytest.mark.parametrize(
    "name", ["model.safetensors", "open_clip_model.safetensors", "only.safetensors"]
)
def test_folder_with_one_file_is_read(name, tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / name)
    assert same(read_weights(tmp_path).tensors)


def test_folder_with_parts_is_joined(tmp_path):
    index = {"weight_map": {}}
    for number, (name, value) in enumerate(WEIGHTS.items()):
        part = f"pytorch_model-{number}.bin"
        torch.save({name: value}, tmp_path / part)
        index["weight_map"][name] = part
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(read_weights(tmp_path).tensors)
    (tmp_path / "pytorch_model-1.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"parts that are not beside it \(pytorch_model-1"):
        read_weights(tmp_path)


def test_folder_index_cannot_leave_its_folder(tmp_path):
    torch.save(WEIGHTS, tmp_path / "secret.bin")
    (tmp_path / "folder").mkdir()
    index = json.dumps({"weight_map": {"a": "../secret.bin"}})
    (tmp_path / "folder" / "pytorch_model.bin.index.json").write_text(index)
    with pytest.raises(FileNotFoundError, match="parts that are not beside it"):
        read_weights(tmp_path / "folder")


def test_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"no weights in the folder .* holds config.json"):
        read_weights(tmp_path)


def test_folder_with_several_files_is_refused(tmp_path):
    for name in ("a.pth", "b.pth"):
        torch.save(WEIGHTS, tmp_path / name)
    with pytest.raises(
        ValueError, match=r"2 weight files in .*a\.pth, b\.pth.* give the path of one"
    ):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}),
        ("config.json", {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}),
        (
            "open_clip_config.json",
            {
                "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
                "model_cfg": {"quick_gelu": True},
            },
        ),
    ],
)
def test_folder_has_the_normalisation(name, content, tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / name).write_text(json.dumps(content))
    declared = read_weights(tmp_path).declared
    assert declared.normalisation.mean == (0.1, 0.2, 0.3)
    assert declared.normalisation.std == (0.4, 0.5, 0.6)
    assert declared.activation == ("quick_gelu" if "open_clip" in name else None)


def test_folder_with_truncated_json_is_named(tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        read_weights(tmp_path)


# --- the hub


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_hub_repository_is_read_from_the_cache(offline_hub):
    commit = "0" * 40
    repository = offline_hub / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    safetensors.torch.save_file(WEIGHTS, snapshot / "open_clip_model.safetensors")
    preprocessing = {"preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    (snapshot / "open_clip_config.json").write_text(json.dumps(preprocessing))
    file = read_weights("hf-hub:owner/name")
    assert same(file.tensors)
    assert file.declared.normalisation.mean == (0.1, 0.2, 0.3)


def test_hub_out_of_reach_is_one_error(offline_hub):
    with pytest.raises(ValueError, match=r"cannot fetch weights from hf-hub:owner/name .*download"):
        read_weights("hf-hub:owner/name")


def test_hub_without_its_package_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"needs the package huggingface_hub \(`pip install"):
        read_weights("hf-hub:owner/name")


# --- what is no weight file


class MakesFile:
    """A pickle of this would create a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old_format", [True, False])
def test_malicious_zipped_pickle_does_not_run(old_format, tmp_path):
    content = {"conv1.weight": torch.ones(2), "extra": MakesFile(tmp_path / "made")}
    torch.save(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=not old_format)
    expected = r"holds other things than tensors and was not loaded.*: posix\.mkdir\. If you trust"
    with pytest.raises(ValueError, match=expected):
        read_weights(tmp_path / "bad.pth")
    assert not (tmp_path / "made").exists()


def test_malicious_plain_pickle_does_not_run(tmp_path):
    (tmp_path / "bad.bin").write_bytes(pickle.dumps(MakesFile(tmp_path / "made")))
    with pytest.raises(ValueError, match=r"bad\.bin .*run code: Unsupported operand \d+\. If you"):
        read_weights(tmp_path / "bad.bin")
    assert not (tmp_path / "made").exists()


def test_malicious_torchscript_archive_does_not_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(MakesFile(tmp_path / "made"), protocol=2))
        archive.writestr("bad/constants.pkl", b"")
    with pytest.raises(
        ValueError, match=r"not loaded, since they could run code: unsupported name"
    ):
        read_weights(tmp_path / "bad.pt")
    assert not (tmp_path / "made").exists()


BAD = {
    "lfs.pth": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        r"Git LFS pointer of \d+ bytes.*git lfs pull",
    ),
    "page.pth": (b"\n<!DOCTYPE html><html>sign in</html>", r"is a web page .* download the file"),
    "empty.pth": (b"", r"is empty \(0 bytes\)"),
    "text.pth": (b"hello world, this is no weight file", r"text\.pth"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_content_is_named(name, tmp_path):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_file_is_refused(name, share, tmp_path):
    path = tmp_path / name
    big = {"conv1.weight": torch.randn(500, 8)}
    (safetensors.torch.save_file if name.endswith("s") else torch.save)(big, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cannot read weights from .* Is it cut off"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no weights: an empty dictionary"),
        ({"optimizer": {"state": {0: torch.ones(2)}}, "epoch": 1}, "state of an optimizer without"),
        ({"epoch": 1, "lr": 0.1}, r"a dictionary without tensors \(keys epoch, lr\)"),
        ([torch.ones(2)], "expected a dictionary of tensors .* got a list"),
        (torch.ones(2), "got a Tensor"),
    ],
)
def test_content_without_weights_is_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "nothing.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder at .*PRETRAIN_PATH"):
        read_weights(tmp_path / "gone.pth")
