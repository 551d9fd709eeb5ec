"""Fixtures of the runs of DAPG's miniature."""

from ...engine.conftest import market_root

__all__ = ["market_root"]
