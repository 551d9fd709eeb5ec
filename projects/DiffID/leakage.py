"""State that neither a generated set nor its generator has seen test identities.

The first is read in the rows of the set, the second in ``training.json`` of a generator's folder.
"""

import json
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.configured_sets import open_dataset
from fastreid_ext.manifest import read_set
from fastreid_ext.registries import registered_names


def leakage_statement(cfg: CfgNode, root: Path) -> str:
    """Compare the identities of a generated set with the splits of the real set it was made of.

    Test identities are those of DATASETS.TESTS that have the generated set's source among them.

    Args:
        cfg: configuration with DATASETS.NAMES and DATASETS.TESTS of the real images.
        root: folder of the generated set.

    Returns:
        One sentence for the caption of a table.

    Raises:
        ValueError: a row's identity is not in the training split, or no row names a data set.
    """
    _, rows = read_set(root)
    shown = {(row.image.source_dataset, row.image.person_id) for row in rows}
    parts = []
    for name in sorted({source for source, _ in shown}):
        known = training_numbers(cfg, name)
        foreign = sorted(pid for source, pid in shown if source == name and pid not in known)
        if foreign:
            raise ValueError(
                f"{root}: expected identities of the training split of {name}, got "
                f"{foreign[:5]} ({len(foreign)} in all), which are test identities or unknown; "
                "generate images of training identities only"
            )
        count = sum(source == name for source, _ in shown)
        parts.append(f"{count} of the {len(known)} training identities of {name}")
    if not parts:
        raise ValueError(f"{root}: expected rows of generated images, got none")
    return f"The generated images show {' and '.join(parts)}, and no test identity."


def generator_statement(cfg: CfgNode, generator: Path) -> str:
    """Compare the identities that a generator was trained on with the splits of their sets.

    Args:
        cfg: configuration with DATASETS.ROOT of the real images.
        generator: folder that tools/pose_persons.py train has written.

    Returns:
        One sentence for the caption of a table.

    Raises:
        FileNotFoundError: the folder does not tell what the generator was trained on.
        ValueError: an identity is not in the training split of its set.
    """
    record = generator / "training.json"
    if not record.is_file():
        raise FileNotFoundError(
            f"expected {record}, which names the identities that the generator was trained on; "
            "give the folder generator/ that tools/pose_persons.py train has written"
        )
    parts = []
    for name, seen in sorted(json.loads(record.read_text())["identities"].items()):
        foreign = sorted(set(seen) - training_numbers(cfg, name))
        if foreign:
            raise ValueError(
                f"{record}: expected identities of the training split of {name}, got "
                f"{foreign[:5]} ({len(foreign)} in all); train the generator without them"
            )
        parts.append(f"{len(seen)} training identities of {name}")
    return f"The generator was trained on {' and '.join(parts)}, and on no test identity."


def training_numbers(cfg: CfgNode, name: str) -> set[int]:
    """Collect the numbers of a set's training identities, as manifests have them.

    Raises:
        ValueError: ``name`` is not a registered data set.
    """
    if name not in registered_names(DATASET_REGISTRY):
        raise ValueError(
            f"expected a registered data set as source_dataset of the rows, got '{name}'; without "
            "it, test identities cannot be told from others"
        )
    train = open_dataset(cfg, name).train
    return {int(str(pid).rsplit("_", 1)[-1]) for _, pid, _ in train}
