"""Seeds that depend on what is sampled and never on when.

So any image can be generated alone, on any worker, later.
"""

import hashlib
import json


def seed_of(run_seed: int, *parts: str | int) -> int:
    """Compute the seed of one random thing of a run.

    Args:
        run_seed: ``SEED`` of the configuration; -1, fastreid's "no seed", counts as 0.
        parts: name of the thing from the whole to the part, such as ``"pose", data_set, pid``.
            The text "1" and the number 1 give different seeds.

    Returns:
        Integer in [0, 2**63), equal on every machine: 63 bits of a SHA-256.
    """
    if run_seed < -1:
        raise ValueError(f"expected a run seed >= 0, or -1 for 0, got {run_seed}; set SEED")
    named = json.dumps([max(run_seed, 0), *parts]).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1
