"""Read a configuration file the way every tool of ours does."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from fastreid.config import CfgNode, get_cfg

from fastreid_ext.config.checks import check_config
from fastreid_ext.config.defaults import add_fastreid_ext_config


def load_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the checked, frozen configuration of a file and of KEY VALUE pairs.

    Args:
        config_file: a local YAML file; "" for the defaults alone.
        overrides: ``["SOLVER.BASE_LR", "1e-3", ...]``, applied after the file.

    Raises:
        FileNotFoundError: the file, or one it names as ``_BASE_``, does not exist.
        ValueError: a remote path, YAML that would run code, an unknown key, or what
            :func:`check_config` finds.
    """
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    try:
        if str(config_file):
            _check_files(str(config_file))
            cfg.merge_from_file(str(config_file))
        cfg.merge_from_list(list(overrides))
    except (KeyError, AssertionError) as error:
        raise ValueError(
            f"{config_file or 'command line'}: {str(error).strip(chr(39))}; "
            "known keys are fastreid's and those of fastreid_ext/config/defaults.py"
        ) from error
    check_config(cfg)
    cfg.freeze()
    return cfg


def _check_files(config_file: str) -> None:
    """Follow the ``_BASE_`` chain and refuse what is remote, missing or would run code."""
    while config_file:
        if "://" in config_file:
            raise ValueError(
                f"expected a local configuration file, got {config_file}; download it first"
            )
        path = Path(config_file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no configuration file at {path}; ours are in configs/")
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(
                f"{path}: expected plain YAML without python tags, got: {error}"
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected KEY: VALUE lines, got {type(content).__name__}")
        base = content.get("_BASE_", "")
        is_placed = not base or "://" in base or base.startswith(("/", "~"))
        config_file = base if is_placed else str(path.parent / base)
