"""Folders of models of transformers, named by a path or by a hub id.

Only safetensors are read: unpickling a file runs the code in it.
"""

from pathlib import Path

from fastreid_ext.diffusion.weight_files import expect_no_pickles, expect_whole, read_object
from fastreid_ext.hub import hub_folder

_WANTED = ["*.json", "*.txt", "*.jinja", "*.model", "*.safetensors"]


def find_model_folder(source: str, *, key: str, revision: str = "", download: bool = False) -> Path:
    """Find the local folder of a model in transformers' layout with safetensors.

    Args:
        source: folder, or hub id such as "Salesforce/blip2-opt-2.7b".
        key: configuration key that holds ``source``, for messages.
        revision: branch, tag or commit of a hub id; "" means main.
        download: whether the network may be used; otherwise only the hub's cache is searched.

    Raises:
        FileNotFoundError: no such folder, no such model in the cache, or a folder without a model.
        ValueError: the weights are pickles, or a file is cut short.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = hub_folder(source, key=key, wanted=_WANTED, revision=revision, download=download)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"expected a model in transformers' layout in {folder} ({key}), got no config.json "
            "there; give the folder that model.save_pretrained wrote"
        )
    read_object(folder / "config.json")
    if files := sorted(folder.glob("*.safetensors")):
        expect_whole(files)
        return folder
    expect_no_pickles(
        folder,
        f"{folder} ({key})",
        f"<its class>.from_pretrained('{folder}', use_safetensors=False).save_pretrained"
        "('<folder>'), and save its processor there too",
    )
    # The pickles of a hub id are not downloaded.
    raise FileNotFoundError(
        f"expected weights as safetensors in {folder} ({key}), got none; does '{source}' offer "
        "them? Otherwise convert it once, in a process that you trust it with, and give the folder"
    )
