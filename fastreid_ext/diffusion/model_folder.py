"""Where a model of transformers lies: a folder, or a hub id whose files are brought or cached.

Only safetensors are read: unpickling a file runs what is in it.
"""

from pathlib import Path

from fastreid_ext.diffusion.hub_files import hub_folder
from fastreid_ext.diffusion.whole_files import expect_whole, read_object

_WANTED = ["*.json", "*.txt", "*.jinja", "*.model", "*.safetensors"]
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def find_model_folder(source: str, *, key: str, revision: str = "", download: bool = False) -> Path:
    """Return the local folder of a model in transformers' layout, with its weights as safetensors.

    Args:
        source: a folder, or a hub id such as "Salesforce/blip2-opt-2.7b".
        key: configuration key that names it, for messages.
        revision: branch, tag or commit of a hub id; "" = main.
        download: whether the network may be used; else a hub id must lie in the hub's cache.

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
    if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
        raise ValueError(
            f"expected safetensors in {folder} ({key}), got only {', '.join(pickles)}, a pickle, "
            "which can run code when it is read; if you trust it convert it once: "
            f"<its class>.from_pretrained('{folder}', use_safetensors=False).save_pretrained"
            "('<folder>'), and save its processor there too"
        )
    # Of a hub id whose files are pickles, none are brought.
    raise FileNotFoundError(
        f"expected weights as safetensors in {folder} ({key}), got none; does '{source}' offer "
        "them? Else convert it once, in a process that you trust it with, and give the folder"
    )
