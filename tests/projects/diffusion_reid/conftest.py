"""The small Market-1501 of the engine tests."""

from ...engine.conftest import market_root

__all__ = ["market_root"]
