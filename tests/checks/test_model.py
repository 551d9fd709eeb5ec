"""Mistakes in the keys of pre-trained weights show before anything is built."""

import pytest

from fastreid_ext.config import load_config

ON = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH"]


@pytest.mark.parametrize("path", ["{folder}", "{folder}/a.pth", "hf-hub:owner/name-1.0"])
def test_path_is_a_file_a_folder_or_of_the_hub(path, tmp_path):
    (tmp_path / "a.pth").touch()
    path = path.format(folder=tmp_path)
    assert load_config("", [*ON, path]).MODEL.BACKBONE.PRETRAIN_PATH == path


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([*ON, "/gone.pth"], r"no file at /gone\.pth .* existing weight file or folder, or hf-hub"),
        ([*ON, "hf-hub:name"], r"expected hf-hub:owner/name .* got 'hf-hub:name'"),
        (["MODEL.BACKBONE.PRETRAIN_FAMILY", "soldier"], r"PRETRAIN_FAMILY; did you mean 'solider'"),
        (["MODEL.BACKBONE.MIN_PRETRAIN_MATCHED", "1.5"], r"MIN_PRETRAIN_MATCHED in \[0, 1\], got"),
    ],
)
def test_mistakes(keys, message):
    with pytest.raises(ValueError, match=message):
        load_config("", ["MODEL.DEVICE", "cpu", *keys])
