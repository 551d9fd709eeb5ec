"""The free body of the body tests."""

from ...bodies.conftest import body

__all__ = ["body"]
