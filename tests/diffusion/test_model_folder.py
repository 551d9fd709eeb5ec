"""Folders of transformers models: safetensors or a clear error, never the network."""

import shutil

import pytest

from fastreid_ext.diffusion.model_folder import find_model_folder

KEY = "GENERATION.CAPTIONS.CAPTIONER"


@pytest.fixture
def copied(tiny_blip_folder, tmp_path):
    return shutil.copytree(tiny_blip_folder, tmp_path / "copied")


def test_model_folder_of_a_path(tiny_blip_folder):
    assert find_model_folder(str(tiny_blip_folder), key=KEY) == tiny_blip_folder


def test_model_folder_missing_says_what_to_do():
    with pytest.raises(FileNotFoundError, match=r"folder or a hub id, got '\./not/here/at all'"):
        find_model_folder("./not/here/at all", key=KEY)
    with pytest.raises(FileNotFoundError, match=r"'nobody/nothing' \(GENERATION.CAPTIONS.CAPTION"):
        find_model_folder("nobody/nothing", key=KEY)


def test_model_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got no config\.json there"):
        find_model_folder(str(tmp_path), key=KEY)


def test_model_folder_of_pickles_says_how_to_convert(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pytorch_model\.bin, a pickle.*use_safetensors=Fa"):
        find_model_folder(str(copied), key=KEY)


def test_model_folder_without_weights_is_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected weights as safetensors in .* got none"):
        find_model_folder(str(copied), key=KEY)


def test_model_folder_with_cut_files_is_refused(copied):
    weights = copied / "model.safetensors"
    config = copied / "config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors is no whole .* bring it again"):
        find_model_folder(str(copied), key=KEY)
    config.write_text('{"a": ')
    with pytest.raises(ValueError, match=r"JSON object in \S+config\.json, got.*the model again"):
        find_model_folder(str(copied), key=KEY)
