"""Check that a configuration was accepted with what was set in it."""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import value_of
from fastreid_ext.checks.table import unread_keys
from fastreid_ext.engine.results import plain


def expect_accepted(cfg: CfgNode, keys: Mapping[str, Any]) -> None:
    """Check that every key has the value that was set, and that something reads it."""
    assert {key: plain(value_of(cfg, key)) for key in keys} == {
        key: plain(value) for key, value in keys.items()
    }
    assert not set(unread_keys(cfg)) & set(keys)
