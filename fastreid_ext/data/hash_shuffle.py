"""An order by chance that is the same on every machine and with every version of numpy."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_DIGEST = hashlib.sha256().digest_size


def hash_shuffle(names: Iterable[str], *key: str | int) -> list[str]:
    """Return ``names`` in the order of the SHA-256 of (``key``, name).

    A name's place does not depend on the order in which the names come, and two names keep their
    order when others are added or removed. The first n of a longer choice are the shorter choice.
    (The streams of ``numpy.random.Generator`` may change between versions, NEP 19.)

    Args:
        names: different strings.
        key: what the order is for; another key gives an independent order.
    """
    listed = list(names)
    return [listed[place] for place in hash_shuffled_places(listed, *key).tolist()]


def hash_shuffled_places(names: Iterable[str], *key: str | int) -> NDArray[np.int64]:
    """Return the places of ``names`` in the order of :func:`hash_shuffle`.

    Memory is 40 bytes per name; only one name exists as an object at a time.

    Args:
        names: different strings.
        key: what the order is for, as in :func:`hash_shuffle`.
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
