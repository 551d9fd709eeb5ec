"""Turn the rows of generated sets into the (path, person, camera) items fastreid trains on.

Person of an image (``PERSON_IDS``):

- "kept": the person of the real set the row names as ``source_dataset``, so that real and generated
  images of a person become one class.
- "new": a class of its own for each person of each generated set.

Camera of an image (``CAMERA_RULE``); "its set" is one of DATASETS.GENERATED.ROOTS:

- "row": the row's ``camera_id``, as a camera of its set. For generators that imitate several
  cameras.
- "source": the real camera of the first source image (``source_camera_id`` of ``source_dataset``).
  For generators that keep the look of what they start from.
- "single": one camera for its set. For camera-aware methods that should see the generator as one
  style.
- "per_image": each image a camera of its own, so that any two images of a person count as seen by
  different cameras (BalancedIdentitySampler prefers such pairs).
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from fastreid_ext.data.samplers import Item
from fastreid_ext.manifest import Row

PERSON_IDS = ("new", "kept")
CAMERA_RULES = ("row", "source", "single", "per_image")


def generated_items(
    sets: Iterable[list[Row]],
    dataset_names: Mapping[str, str],
    *,
    person_ids: str,
    camera_rule: str,
    max_per_identity: int,
) -> list[Item]:
    """Return the items of all rows with status "ok".

    Args:
        sets: the rows of each generated set.
        dataset_names: name of a real set in DATASET_REGISTRY -> ``dataset_name`` of its class, with
            which its persons begin in training.
        person_ids: "new" or "kept".
        camera_rule: see the module.
        max_per_identity: most images of a person over all sets, the same choice in each run;
            0 = all.

    Raises:
        ValueError: an option is unknown, or a row lacks what an option needs; the message begins
            with the row's ``file:line``.
    """
    for key, value, known in (
        ("PERSON_IDS", person_ids, PERSON_IDS),
        ("CAMERA_RULE", camera_rule, CAMERA_RULES),
    ):
        if value not in known:
            raise ValueError(
                f"unknown DATASETS.GENERATED.{key} '{value}'; known: {', '.join(known)}"
            )
    persons: dict[str, list[Item]] = defaultdict(list)
    for number, rows in enumerate(sets):
        for row in rows:
            if row.image.status == "ok":
                person = _person(row, number, person_ids, dataset_names)
                camera = _camera(row, number, camera_rule, dataset_names)
                persons[person].append((str(row.path), person, camera))
    return [item for own in persons.values() for item in _capped(own, max_per_identity)]


def _person(row: Row, number: int, person_ids: str, dataset_names: Mapping[str, str]) -> str:
    if person_ids == "kept":
        return f"{_source_name(row, dataset_names, 'PERSON_IDS kept')}_{row.image.person_id}"
    return f"generated{number}_{row.manifest.parent.name}"


def _camera(row: Row, number: int, rule: str, dataset_names: Mapping[str, str]) -> str:
    if rule == "single":
        return f"generated{number}"
    if rule == "per_image":
        return f"generated{number}_{row.manifest.parent.name}/{row.image.file_name}"
    key = "camera_id" if rule == "row" else "source_camera_id"
    camera = getattr(row.image, key)
    if camera < 0:
        raise ValueError(
            f"{row.where}: expected {key} >= 0 for DATASETS.GENERATED.CAMERA_RULE {rule}, got "
            f"{camera} (not known); use another rule, e.g. single"
        )
    if rule == "row":
        return f"generated{number}_{camera}"
    return f"{_source_name(row, dataset_names, 'CAMERA_RULE source')}_{camera}"


def _source_name(row: Row, dataset_names: Mapping[str, str], option: str) -> str:
    source = row.image.source_dataset
    if source not in dataset_names:
        raise ValueError(
            f"{row.where}: source_dataset '{source}' is no registered data set, which "
            f"DATASETS.GENERATED.{option} needs; known: {', '.join(sorted(dataset_names))}"
        )
    return dataset_names[source]


def _capped(items: list[Item], most: int) -> list[Item]:
    """Choose ``most`` items as a hash of their last two path parts falls.

    The first ``most`` would favour the first prompts or views, and an absolute path would make the
    choice depend on where the set lies.
    """
    if not most:
        return items

    def by_hash(item: Item) -> bytes:
        return hashlib.sha256("/".join(item[0].split("/")[-2:]).encode()).digest()

    return sorted(sorted(items, key=by_hash)[:most])
