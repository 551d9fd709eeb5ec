"""Fixtures of the small Market-1501 of the data tests."""

from ...data.conftest import make_cfg, market_root, small_config, write_image

__all__ = ["make_cfg", "market_root", "small_config", "write_image"]
