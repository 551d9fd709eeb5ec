"""Shuffle names in the same way on every machine and with every version of numpy."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_DIGEST = hashlib.sha256().digest_size


def hash_shuffle(names: Iterable[str], *key: str | int) -> list[str]:
    """Sort ``names`` by the SHA-256 of (``key``, name).

    The order does not depend on the order of the input, and two names keep their order when others
    are added or removed, so the first n names are part of the first n + 1.
    (The streams of ``numpy.random.Generator`` may change between versions, NEP 19.)

    Args:
        names: strings to order, without repetitions.
        key: purpose of the order; different keys give independent orders.

    Example:
        >>> hash_shuffle(["a", "b", "c", "d"], "split", 0)
        ['c', 'a', 'd', 'b']
    """
    listed = list(names)
    return [listed[place] for place in hash_shuffled_places(listed, *key).tolist()]


def hash_shuffled_places(names: Iterable[str], *key: str | int) -> NDArray[np.int64]:
    """Compute the order of :func:`hash_shuffle` as positions in ``names``.

    Memory is 40 bytes per name; only one name exists as an object at a time.

    Example:
        >>> hash_shuffled_places(["a", "b", "c", "d"], "split", 0).tolist()
        [2, 0, 3, 1]

    Args:
        names: strings to order, without repetitions.
        key: purpose of the order; see :func:`hash_shuffle`.
    """
    start = hashlib.sha256("\n".join(map(str, key)).encode() + b"\n")
    digests = bytearray()
    for name in names:
        own = start.copy()
        own.update(name.encode())
        digests += own.digest()
    if not digests:
        return np.empty(0, np.int64)
    # Strings of one length compare byte by byte, as the digests do.
    return np.argsort(np.frombuffer(digests, f"S{_DIGEST}"), kind="stable")
