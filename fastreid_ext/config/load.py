"""Read, complete and check a configuration file."""

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode, get_cfg

from fastreid_ext.names import unknown_name

# KEY VALUE pair for loading a checkpoint: it holds the backbone, so the file of pre-trained weights
# with which its run began need not exist any more.
FROM_CHECKPOINT = ("MODEL.BACKBONE.PRETRAIN", "False")

# Sections whose keys of ours have a file of their own; the others are in defaults.py.
_SECTIONS = ("MODEL", "INPUT", "DATASETS", "DATALOADER", "SOLVER", "TEST", "GENERATION")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Origin of the values of a configuration.

    Attributes:
        files: configuration of the file and its ``_BASE_`` files, without the command line.
        leaf: keys that the file itself names; empty for a saved configuration, which names all
            keys, and for a file named Base-*, which sets keys for other files.
        command: keys that the command line names.
        named: keys that the command line, the file or a ``_BASE_`` file names.
    """

    files: CfgNode
    leaf: frozenset[str]
    command: frozenset[str]
    named: frozenset[str]


@dataclasses.dataclass
class _Finish:
    """Steps of packages above this one, set by :func:`finish_with`."""

    fill_in: Callable[[CfgNode], None] = lambda cfg: None
    check: Callable[[CfgNode, Origin], None] = lambda cfg, origin: None
    register: Callable[[CfgNode], None] = lambda cfg: None


_finish = _Finish()


def finish_with(
    *,
    fill_in: Callable[[CfgNode], None],
    check: Callable[[CfgNode, Origin], None],
    register: Callable[[CfgNode], None],
) -> None:
    """Set the steps by which :func:`load_config` finishes a configuration, in this order.

    The steps know backbones, data sets and all allowed values, which lie above this package.

    Args:
        fill_in: function that replaces automatic values in place.
        check: function that raises ValueError for a configuration with mistakes.
        register: function that registers the data sets that a configuration describes.
    """
    _finish.fill_in = fill_in
    _finish.check = check
    _finish.register = register


def load_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Read a file and KEY VALUE pairs into a checked, frozen configuration.

    Args:
        config_file: path of a local YAML file; "" for the defaults alone. ``~`` is the home folder
            here, in ``_BASE_`` and in the keys that hold a path.
        overrides: keys and values in turn, ``["SOLVER.BASE_LR", "1e-3", ...]``, applied after the
            file.

    Raises:
        FileNotFoundError: the file, or one it names as ``_BASE_``, does not exist.
        ValueError: the path is remote, the YAML would run code, files are each other's base, a key
            is unknown, a value has another type, or the checks find mistakes.

    Example:
        >>> import fastreid_ext
        >>> cfg = load_config("", ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.FEAT_DIM", "0"])
        >>> cfg.MODEL.BACKBONE.FEAT_DIM  # the width of a ResNet-50
        2048
    """
    cfg, origin = _merged(config_file, overrides)
    _finish.fill_in(cfg)
    _finish.check(cfg, origin)
    _finish.register(cfg)
    cfg.freeze()
    return cfg


def merged_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Read a file and KEY VALUE pairs into a configuration that is not checked.

    Arguments and errors are those of :func:`load_config`.
    """
    return _merged(config_file, overrides)[0]


def _merged(config_file: str | Path, overrides: Sequence[str]) -> tuple[CfgNode, Origin]:
    cfg = get_cfg()
    known = flat(cfg)
    config_file = os.path.expanduser(config_file)
    contents = _read_files(config_file) if config_file else {}
    for path, content in contents.items():
        _check_keys(path, flat(content), known)
    if config_file:
        _merge(config_file, cfg.merge_from_file, config_file)
    files = cfg.clone()
    _check_keys("command line", overrides[::2], known)
    _merge("command line", cfg.merge_from_list, list(overrides))
    # fastreid opens these as they are.
    cfg.MODEL.WEIGHTS = os.path.expanduser(cfg.MODEL.WEIGHTS)
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = os.path.expanduser(cfg.MODEL.BACKBONE.PRETRAIN_PATH)
    cfg.OUTPUT_DIR = os.path.expanduser(cfg.OUTPUT_DIR)
    return cfg, _origin(files, contents, overrides, known)


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a tree to values by full key, such as "SOLVER.AMP.ENABLED"."""
    values = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def _origin(
    files: CfgNode,
    contents: Mapping[str, Mapping[str, Any]],
    overrides: Sequence[str],
    known: Collection[str],
) -> Origin:
    keys = {path: frozenset(flat(content)) for path, content in contents.items()}
    command = frozenset(overrides[::2])
    named = command.union(*keys.values())
    path, leaf = next(iter(keys.items()), ("", frozenset()))
    # The dump of every key that a run writes, and files that are there to be a _BASE_.
    if len(leaf) > len(known) / 2 or Path(path).name.startswith("Base-"):
        leaf = frozenset()
    return Origin(files, leaf, command, named)


def _check_keys(source: str, keys: Iterable[str], known: Collection[str]) -> None:
    """Refuse the first unknown key, with the nearest known one."""
    for key in keys:
        is_section = any(name.startswith(f"{key}.") for name in known)
        if key in known or is_section or key in ("_BASE_", "VERSION"):
            continue
        section = key.split(".")[0]
        described = f"{section.lower()}.py" if section in _SECTIONS else "defaults.py"
        raise ValueError(
            f"{source}: {unknown_name('the configuration', key, known)} Keys of "
            f"fastreid_ext are described in fastreid_ext/config/{described}, others are fastreid's"
        )


def _merge(source: str, merge: Callable[[Any], None], argument: str | list[str]) -> None:
    """Call ``merge``; add the source of the key to its errors."""
    try:
        merge(argument)
    except (KeyError, AssertionError) as error:
        raise ValueError(f"{source}: {str(error).strip(chr(39))}; give KEY VALUE pairs") from error
    except ValueError as error:
        is_whole = "(<class 'float'> vs. <class 'int'>)" in str(error)
        advice = "; write 1.0 for 1" if is_whole else ""
        raise ValueError(
            f"{source}: {error}; give a value of the default's type{advice}"
        ) from error


def _read_files(config_file: str) -> dict[str, dict[str, Any]]:
    """Read a file and its ``_BASE_`` files; refuse remote and missing ones and YAML with code.

    Returns:
        Contents by path, the file itself first.
    """
    seen: set[Path] = set()
    contents: dict[str, dict[str, Any]] = {}
    while True:
        if "://" in config_file:
            raise ValueError(
                f"expected a local configuration file, got {config_file}; download it first"
            )
        path = Path(config_file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no configuration file at {path}; ours are in configs/")
        if path.resolve() in seen:
            raise ValueError(f"{path} is its own _BASE_, through others; remove one _BASE_ line")
        seen.add(path.resolve())
        try:
            content = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}: expected plain YAML without python tags, got: {error}"
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected KEY: VALUE lines, got {type(content).__name__}")
        contents[str(path)] = content
        if "_BASE_" not in content:
            return contents
        base = content["_BASE_"]
        if not isinstance(base, str) or not base:
            raise ValueError(f"{path}: expected the path of one file as _BASE_, got {base!r}")
        is_placed = "://" in base or base.startswith(("/", "~"))
        config_file = base if is_placed else str(path.parent / base)
