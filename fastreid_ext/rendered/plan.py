"""Plan which images exist, in which folder and under which name, before any is rendered.

Market-1501's layout: ``bounding_box_train``, ``query``, ``bounding_box_test``;
``0007_c3s1_000011_00.jpg`` is identity 7 at camera 3 in session 1. As there, a test identity gives
one query per camera and the rest is gallery; in RenderedVI every infrared test image is a query and
every visible one is gallery.
"""

import dataclasses

import numpy as np

from fastreid_ext.rendered.difficulty import difficulty, session_of
from fastreid_ext.rendered.domains import camera_specs
from fastreid_ext.rendered.identities import stream

TRAIN = "bounding_box_train"
QUERY = "query"
GALLERY = "bounding_box_test"
FOLDERS = (TRAIN, QUERY, GALLERY)
_PLAN_STREAM = 2**31 - 3
_FEWEST_IMAGES = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one rendered data set; equal settings give equal bytes.

    Attributes:
        domain: RenderedCampus, RenderedMall, RenderedStation, RenderedStreet or RenderedVI.
        train_identities: number of training identities, which come first.
        test_identities: number of test identities, which come after them.
        images_per_identity: number of images of each identity, over up to six cameras; at least 4.
        seed: seed of all identities and images, at least 0.
        height: height of the images in pixels.
        width: width of the images in pixels.
        unusual_poses: share in [0, 1] of images in poses that pedestrians seldom take
            (``bodies.pose_bank``) instead of street poses.
        difficulty: "hard" = cameras that change and many look-alikes; "easy" = six steady cameras,
            every fourth identity a look-alike (:mod:`.difficulty`).
        front_walkers: whether training images are biased: all persons walk, and are seen from
            within 30 degrees of the front; test images are as ever.
    """

    domain: str
    train_identities: int
    test_identities: int
    images_per_identity: int
    seed: int
    height: int = 128
    width: int = 64
    unusual_poses: float = 0.0
    difficulty: str = "hard"
    front_walkers: bool = False

    def __post_init__(self) -> None:
        camera_specs(self.domain)
        difficulty(self.difficulty)
        if (
            self.train_identities < 0
            or self.test_identities < 0
            or self.train_identities + self.test_identities < 1
        ):
            raise ValueError(
                f"expected numbers of identities >= 0 and at least one in all, "
                f"got {self.train_identities} for training and "
                f"{self.test_identities} for test; raise one of them"
            )
        if self.images_per_identity < _FEWEST_IMAGES:
            raise ValueError(
                f"expected images_per_identity >= {_FEWEST_IMAGES} "
                "(two cameras with a query and a gallery picture each), "
                f"got {self.images_per_identity}"
            )
        if self.seed < 0:
            raise ValueError(f"expected a seed >= 0, got {self.seed}")
        if not 0 <= self.unusual_poses <= 1:
            raise ValueError(f"expected unusual_poses in [0, 1], got {self.unusual_poses}")
        if not (32 <= self.height <= 1024 and 16 <= self.width <= 1024):
            raise ValueError(
                f"expected a size between 32x16 and 1024x1024 (height x width), "
                f"got {self.height}x{self.width}"
            )


@dataclasses.dataclass(frozen=True)
class PlannedImage:
    """One image: ``index`` seeds it, ``camera`` counts from 0, ``file`` within the domain."""

    index: int
    camera: int
    file: str


@dataclasses.dataclass(frozen=True)
class PlannedIdentity:
    """One identity, the unit of work."""

    person_id: int
    first_of_split: int
    session: int  # from 0
    images: tuple[PlannedImage, ...]


def _cameras_seen(settings: Settings, rng: np.random.Generator) -> list[int]:
    """Sample the cameras (from 0) of an identity: as many as its images allow, or 1 or 2 fewer."""
    infrared = [
        number for number, spec in enumerate(camera_specs(settings.domain)) if spec.infrared
    ]
    most = min(6, settings.images_per_identity // 2)
    count = max(2, most - int(rng.choice(3, p=[0.6, 0.25, 0.15])))
    order = rng.permutation(6).tolist()
    if infrared:  # one infrared camera for every two visible ones, at least one of each
        kinds = [[c for c in order if c in infrared], [c for c in order if c not in infrared]]
        dark = max(1, min(len(infrared), round(count / 3)))
        order = kinds[0][:dark] + kinds[1]
    return sorted(order[:count])


def _folder(train: bool, infrared_domain: bool, infrared: bool, chosen_at_camera: bool) -> str:
    if train:
        return TRAIN
    is_query = infrared if infrared_domain else chosen_at_camera
    return QUERY if is_query else GALLERY


def plan_identity(settings: Settings, person_id: int) -> PlannedIdentity:
    """Plan the cameras, folders and names of one identity's images."""
    rng = stream(settings.seed, settings.domain, person_id, _PLAN_STREAM)
    specs = camera_specs(settings.domain)
    infrared_domain = any(spec.infrared for spec in specs)
    train = person_id <= settings.train_identities
    cameras = _cameras_seen(settings, rng)
    at_camera = [cameras[k % len(cameras)] for k in range(settings.images_per_identity)]
    sessions = difficulty(settings.difficulty).sessions
    session = session_of(settings.seed, settings.domain, person_id, sessions)
    query_at = {camera: int(rng.integers(at_camera.count(camera))) for camera in cameras}
    images = []
    seen = dict.fromkeys(cameras, 0)
    for index, camera in enumerate(at_camera):
        folder = _folder(
            train, infrared_domain, specs[camera].infrared, seen[camera] == query_at[camera]
        )
        seen[camera] += 1
        file = f"{folder}/{person_id:04d}_c{camera + 1}s{session + 1}_{index + 1:06d}_00.jpg"
        images.append(PlannedImage(index, camera, file))
    first = 1 if train else settings.train_identities + 1
    return PlannedIdentity(person_id, first, session, tuple(images))


def plan_domain(settings: Settings) -> list[PlannedIdentity]:
    """Plan every identity of the data set: training ids first, then test ids."""
    count = settings.train_identities + settings.test_identities
    return [plan_identity(settings, person_id) for person_id in range(1, count + 1)]
