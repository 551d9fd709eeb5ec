"""Read a configuration file the way every tool of ours does."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode, get_cfg

from fastreid_ext.config.backbones import fill_in_backbone
from fastreid_ext.config.checks import check_config
from fastreid_ext.config.data_settings import register_own_sets

# Pairs for whoever loads a checkpoint: it holds the backbone, so the file of pre-trained weights
# with which its run began need not exist any more.
FROM_CHECKPOINT = ("MODEL.BACKBONE.PRETRAIN", "False")


def load_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the checked, frozen configuration of a file and of KEY VALUE pairs.

    Args:
        config_file: a local YAML file; "" for the defaults alone. ``~`` is the home folder here, in
            ``_BASE_`` and in the keys that hold a path.
        overrides: ``["SOLVER.BASE_LR", "1e-3", ...]``, applied after the file.

    Raises:
        FileNotFoundError: the file, or one it names as ``_BASE_``, does not exist.
        ValueError: a remote path, YAML that would run code, files that are each other's base, an
            unknown key, a value of another type, or what :func:`check_config` finds.
    """
    cfg = merged_config(config_file, overrides)
    fill_in_backbone(cfg)
    check_config(cfg)
    register_own_sets(cfg)
    cfg.freeze()
    return cfg


def merged_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the configuration of a file and of KEY VALUE pairs, before anything is checked.

    Arguments and errors are those of :func:`load_config`.
    """
    cfg = get_cfg()
    config_file = os.path.expanduser(config_file)
    if config_file:
        _check_files(config_file)
        _merge(config_file, cfg.merge_from_file, config_file)
    _merge("command line", cfg.merge_from_list, list(overrides))
    # fastreid opens these as they are.
    cfg.MODEL.WEIGHTS = os.path.expanduser(cfg.MODEL.WEIGHTS)
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = os.path.expanduser(cfg.MODEL.BACKBONE.PRETRAIN_PATH)
    cfg.OUTPUT_DIR = os.path.expanduser(cfg.OUTPUT_DIR)
    return cfg


def _merge(source: str, merge: Callable[[Any], None], argument: str | list[str]) -> None:
    """Call ``merge``; its errors say where the key comes from."""
    try:
        merge(argument)
    except (KeyError, AssertionError) as error:
        raise ValueError(
            f"{source}: {str(error).strip(chr(39))}; "
            "known keys are fastreid's and those of fastreid_ext/config/defaults.py"
        ) from error
    except ValueError as error:
        is_whole = "(<class 'float'> vs. <class 'int'>)" in str(error)
        advice = "; write 1.0 for 1" if is_whole else ""
        raise ValueError(
            f"{source}: {error}; give a value of the default's type{advice}"
        ) from error


def _check_files(config_file: str) -> None:
    """Follow the ``_BASE_`` chain and refuse what is remote, missing or would run code."""
    seen = set()
    while True:
        if "://" in config_file:
            raise ValueError(
                f"expected a local configuration file, got {config_file}; download it first"
            )
        path = Path(config_file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no configuration file at {path}; ours are in configs/")
        if path.resolve() in seen:
            raise ValueError(f"{path} is, by way of _BASE_, its own base; remove one _BASE_ line")
        seen.add(path.resolve())
        try:
            content = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}: expected plain YAML without python tags, got: {error}"
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected KEY: VALUE lines, got {type(content).__name__}")
        if "_BASE_" not in content:
            return
        base = content["_BASE_"]
        if not isinstance(base, str) or not base:
            raise ValueError(f"{path}: expected the path of one file as _BASE_, got {base!r}")
        is_placed = "://" in base or base.startswith(("/", "~"))
        config_file = base if is_placed else str(path.parent / base)
