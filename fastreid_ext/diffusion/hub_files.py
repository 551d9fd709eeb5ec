"""Bring files of a model from the hub, or find them in its cache."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError


def hub_folder(
    source: str,
    *,
    key: str,
    wanted: Sequence[str],
    unwanted: Sequence[str] = (),
    revision: str = "",
    download: bool = False,
) -> Path:
    """Return the local folder that holds a model's files.

    Args:
        source: a hub id, "owner/name".
        key: configuration key that names it, for messages.
        wanted: patterns of files.
        unwanted: of these, those not to bring.
        revision: branch, tag or commit; "" = main.
        download: whether the network may be used; else the files must lie in the hub's cache.

    Raises:
        FileNotFoundError: there is no such model, here or there.
    """
    try:
        found = snapshot_download(
            source,
            revision=revision or None,
            allow_patterns=list(wanted),
            ignore_patterns=list(unwanted),
            local_files_only=not download,
        )
    except HFValidationError as error:
        raise FileNotFoundError(
            f"expected {key} to be a folder or a hub id, got '{source}', and there is no such "
            "folder; check the path, relative to where the command was started"
        ) from error
    except LocalEntryNotFoundError as error:
        advice = "allow the download with GENERATION.DOWNLOAD True"
        if download:
            advice = "the connection: the hub cannot be reached"
        raise FileNotFoundError(
            f"'{source}' ({key}) is neither a folder here nor in the hub's cache; check the path, "
            f"or {advice}"
        ) from error
    except HfHubHTTPError as error:
        raise FileNotFoundError(
            f"the hub has no '{source}' at revision '{revision or 'main'}' for us ({error}); check "
            f"{key} and its revision, and that you accepted the model's licence there"
        ) from error
    return Path(found)
