"""Turn the rows of generated sets into the (path, pid, camid) items fastreid trains on.

Identity of an image (``PERSON_IDS``):

- "kept": the identity of the real set that the row names as ``source_dataset``, so real and
  generated images of an identity form one class.
- "new": a separate class for each identity of each generated set.

Camera of an image (``CAMERA_RULE``); "its set" is one of DATASETS.GENERATED.ROOTS:

- "row": ``camera_id`` of the row, as a camera of its set. For generators that imitate several
  cameras.
- "source": the real camera of the first source image (``source_camera_id`` of ``source_dataset``).
  For generators that keep the style of their source image.
- "single": one camera for the whole set. For camera-aware methods that should treat the generator
  as one style.
- "per_image": one camera for each image, so any two images of an identity count as seen by
  different cameras (BalancedIdentitySampler prefers such pairs).
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from fastreid_ext.data.samplers import Item
from fastreid_ext.manifest import Row
from fastreid_ext.names import unknown_name

PERSON_IDS = ("new", "kept")
CAMERA_RULES = ("row", "source", "single", "per_image")


def generated_items(
    sets: Iterable[list[Row]],
    dataset_names: Mapping[str, str],
    *,
    person_ids: str,
    camera_rule: str,
    max_per_identity: int,
    max_images: int = 0,
) -> list[Item]:
    """Build the training items of all rows with status "ok".

    Args:
        sets: rows of each generated set.
        dataset_names: ``dataset_name`` of the class of each real set, by its name in
            ``DATASET_REGISTRY``; training prefixes pids with it.
        person_ids: rule for identities, one of ``PERSON_IDS``.
        camera_rule: rule for cameras, one of ``CAMERA_RULES``.
        max_per_identity: largest number of images of an identity over all sets, the same choice in
            each run; 0 = no limit.
        max_images: largest number of images of all identities together, spread evenly over them;
            a smaller number chooses a part of what a larger one chooses. 0 = no limit.

    Raises:
        ValueError: an option is unknown, or a row lacks what an option needs; the message begins
            with the row's ``file:line``.
    """
    for key, value, known in (
        ("PERSON_IDS", person_ids, PERSON_IDS),
        ("CAMERA_RULE", camera_rule, CAMERA_RULES),
    ):
        if value not in known:
            raise ValueError(unknown_name(f"DATASETS.GENERATED.{key}", value, known))
    by_identity: dict[str, list[Item]] = defaultdict(list)
    for number, rows in enumerate(sets):
        for row in rows:
            if row.image.status == "ok":
                pid = _pid(row, number, person_ids, dataset_names)
                camid = _camid(row, number, camera_rule, dataset_names)
                by_identity[pid].append((str(row.path), pid, camid))
    capped = {pid: _capped(own, max_per_identity) for pid, own in by_identity.items()}
    return _spread(capped, max_images)


def _pid(row: Row, number: int, person_ids: str, dataset_names: Mapping[str, str]) -> str:
    if person_ids == "kept":
        name = source_name(row, dataset_names, "GENERATED.PERSON_IDS kept")
        return f"{name}_{row.image.person_id}"
    return f"generated{number}_{row.manifest.parent.name}"


def _camid(row: Row, number: int, rule: str, dataset_names: Mapping[str, str]) -> str:
    if rule == "single":
        return f"generated{number}"
    if rule == "per_image":
        return f"generated{number}_{row.manifest.parent.name}/{row.image.file_name}"
    key = "camera_id" if rule == "row" else "source_camera_id"
    camera = getattr(row.image, key)
    if camera < 0:
        raise ValueError(
            f"{row.where}: expected {key} >= 0 for DATASETS.GENERATED.CAMERA_RULE {rule}, got "
            f"{camera} (unknown); use another rule, e.g. single"
        )
    if rule == "row":
        return f"generated{number}_{camera}"
    return f"{source_name(row, dataset_names, 'GENERATED.CAMERA_RULE source')}_{camera}"


def source_name(row: Row, dataset_names: Mapping[str, str], option: str) -> str:
    """Look up ``dataset_name`` of the real set that an image was made from.

    Args:
        row: row of a generated set.
        dataset_names: ``dataset_name`` of each real set by its registered name.
        option: key and value that need the set, for the message.

    Raises:
        ValueError: the set is not registered.
    """
    source = row.image.source_dataset
    if source not in dataset_names:
        raise ValueError(
            f"{row.where}: DATASETS.{option} needs a registered data set as "
            f"source_dataset, got '{source}'; known: {', '.join(sorted(dataset_names))}"
        )
    return dataset_names[source]


def _capped(items: list[Item], most: int) -> list[Item]:
    """Choose ``most`` items by a hash of the last two parts of their paths.

    The first ``most`` items would favour the first prompts or views, and a hash of the absolute
    path would make the choice depend on the location of the set.
    """
    if not most:
        return items
    return sorted(sorted(items, key=_hash)[:most])


def _spread(by_identity: Mapping[str, list[Item]], most: int) -> list[Item]:
    """Choose ``most`` items of all identities: the first of each by hash, then the second ...

    In the round that is not complete the identities are in the order of the hashes, so that no
    choice favours low numbers.
    """
    if not most:
        return [item for own in by_identity.values() for item in own]
    rounds: list[tuple[int, bytes, Item]] = []
    for own in by_identity.values():
        hashes = sorted((_hash(item), item) for item in own)
        rounds += [(number, key, item) for number, (key, item) in enumerate(hashes)]
    return sorted(item for _, _, item in sorted(rounds)[:most])


def _hash(item: Item) -> bytes:
    return hashlib.sha256("/".join(item[0].split("/")[-2:]).encode()).digest()
