"""Fixtures of the tests of Diff-ID: a tiny Market-1501 tree."""

from ...engine.conftest import market_root

__all__ = ["market_root"]
