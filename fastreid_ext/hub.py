"""Files of models on the Hugging Face hub, or in its local cache.

huggingface_hub is imported when a hub id is opened: folders on disk work without the package.
"""

from collections.abc import Sequence
from pathlib import Path


def hub_folder(
    source: str,
    *,
    key: str,
    wanted: Sequence[str],
    unwanted: Sequence[str] = (),
    revision: str = "",
    download: bool = False,
    download_key: str = "GENERATION.DOWNLOAD",
) -> Path:
    """Find the local folder of a model, and download its files if that is allowed.

    Args:
        source: hub id of the model, "owner/name".
        key: configuration key that holds ``source``, for messages.
        wanted: glob patterns of the files to fetch.
        unwanted: glob patterns of files to skip among the wanted ones.
        revision: branch, tag or commit of the model; "" means main.
        download: whether the network may be used; otherwise only the hub's cache is searched.
        download_key: configuration key that holds ``download``, for messages.

    Returns:
        The folder of the snapshot; its name is the commit.

    Raises:
        FileNotFoundError: neither the cache nor the hub has the model.
        ImportError: huggingface_hub is not installed.
    """
    expect_hub_package(source)
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return fetch_patterns(
            source, wanted, unwanted=unwanted, revision=revision, use_network=download
        )
    except HFValidationError as error:
        raise FileNotFoundError(
            f"expected {key} to be a folder or a hub id, got '{source}', and there is no such "
            "folder; check the path, relative to where the command was started"
        ) from error
    except LocalEntryNotFoundError as error:
        advice = f"allow the download with {download_key} True"
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


def fetch_first(repository: str, names: Sequence[str]) -> tuple[Path | None, bool]:
    """Fetch the first of several files that a repository has.

    Args:
        repository: hub id of the model, "owner/name".
        names: file names in the order of preference.

    Returns:
        The local file, None if the repository has none of them; and whether the hub was reached
        (if not, the remaining names were looked up in the cache alone).

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the hub refuses the repository.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    is_reached = True
    for name in names:
        try:
            file = hf_hub_download(repository, name, local_files_only=not is_reached)
            return Path(file), is_reached
        except LocalEntryNotFoundError:
            is_reached = False
        except EntryNotFoundError:
            continue
    return None, is_reached


def fetch_patterns(
    repository: str,
    wanted: Sequence[str],
    *,
    unwanted: Sequence[str] = (),
    revision: str = "",
    use_network: bool = True,
) -> Path:
    """Fetch all files of a repository that match a pattern.

    Args:
        repository: hub id of the model, "owner/name".
        wanted: glob patterns of the files to fetch.
        unwanted: glob patterns of files to skip among the wanted ones.
        revision: branch, tag or commit of the model; "" means main.
        use_network: whether the hub may be asked; otherwise only its cache is searched.

    Returns:
        The folder of the snapshot in the hub's cache.
    """
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository,
        revision=revision or None,
        allow_patterns=list(wanted),
        ignore_patterns=list(unwanted),
        local_files_only=not use_network,
    )
    return Path(folder)


def expect_hub_package(source: str) -> None:
    """Check that huggingface_hub is installed.

    Args:
        source: name of the model as the user wrote it, for the message.

    Raises:
        ImportError: the package is missing.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{source} needs the package huggingface_hub (`pip install huggingface_hub`); or give "
            "a local folder"
        ) from error
