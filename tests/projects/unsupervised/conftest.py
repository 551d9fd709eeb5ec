"""Fixtures of the runs of methods without labels in miniature."""

from ...engine.conftest import market_root

__all__ = ["market_root"]
