"""One seed for each thing that is drawn, by what the thing is and never by when it is drawn.

So any image can be made alone, on any worker, later.
"""

import hashlib
import json


def seed_of(run_seed: int, *parts: str | int) -> int:
    """Return the seed of what ``parts`` name within a run.

    Args:
        run_seed: ``SEED`` of the configuration; -1, fastreid's "none", counts as 0.
        parts: what is drawn, from the whole to the part, such as ``"draw", identity, index``. The
            text "1" and the number 1 are two things.

    Returns:
        In [0, 2**63), the same on every machine: 63 bits of a SHA-256.
    """
    if run_seed < -1:
        raise ValueError(f"expected a run seed >= 0, or -1 for 0, got {run_seed}; set SEED")
    named = json.dumps([max(run_seed, 0), *parts]).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1
