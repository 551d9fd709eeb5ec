"""Render identities of a rendered data set once more, in given poses seen from given sides.

This is what a perfect pose-conditioned generator would give: the same person and clothes, in
another pose, at one of the person's cameras. It stands in for one in tests and small experiments.
"""

from collections.abc import Iterator, Sequence

from fastreid_ext.bodies.pose_sources import NamedPose, canonical_poses
from fastreid_ext.rendered.camera_effects import encode, expose
from fastreid_ext.rendered.difficulty import difficulty
from fastreid_ext.rendered.dressing import dress
from fastreid_ext.rendered.identities import stream
from fastreid_ext.rendered.person_renderer import render
from fastreid_ext.rendered.plan import PlannedIdentity, Settings
from fastreid_ext.rendered.rendered_images import ATTEMPTS, LEAST_VISIBLE, identity_of, placed_view
from fastreid_ext.rendered.shots import sample_shot, turned

_POSED = 2**30  # first image number of these streams, beyond those of the data set
# A pose, and the azimuth and elevation in degrees at which it is seen.
SeenPose = tuple[NamedPose, float, float]


def render_poses(
    settings: Settings, planned: PlannedIdentity, poses: Sequence[SeenPose] = ()
) -> Iterator[tuple[str, int, bytes]]:
    """Render one image of an identity in each pose; equal arguments give equal bytes.

    Args:
        settings: settings of the data set that the identity belongs to.
        planned: identity, with the cameras that see it.
        poses: poses with azimuth and elevation; () = the four canonical ones. The elevation is that
            of the camera, whatever the pose asks for.

    Yields:
        Name of the pose, camera from 0, JPEG bytes.
    """
    seed = settings.seed
    domain = settings.domain
    level = difficulty(settings.difficulty)
    identity = identity_of(settings, planned)
    bag_kind = identity.outfit.bag_kind
    dressed = dress(identity, bag_kind, seed, domain)
    cameras = sorted({image.camera for image in planned.images})
    for number, (pose, azimuth_deg, _) in enumerate(poses or canonical_poses()):
        rng = stream(seed, domain, planned.person_id, _POSED + number)
        camera = cameras[int(rng.integers(len(cameras)))]
        place = placed_view(settings, level, camera, planned.session)
        for _ in range(ATTEMPTS):
            shot = sample_shot(place, bag_kind, 0, rng, level=level)
            shot = turned(shot, pose.name, pose.pose, azimuth_deg)
            rendering = render(place, dressed, [], shot, settings.height, settings.width)
            if rendering.visible >= LEAST_VISIBLE:
                break
        picture = expose(
            rendering.radiance,
            rendering.box,
            place.spec,
            shot,
            settings.height,
            settings.width,
            rng,
        )
        yield pose.name, camera, encode(picture, place.spec.quality)
