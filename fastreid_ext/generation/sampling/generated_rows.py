"""The rows of a person's drawings, before any filter has seen them."""

from collections.abc import Sequence
from typing import Any

from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.sampling.sampler import Drawn, SamplingSettings
from fastreid_ext.manifest import GeneratedImage


def image_name(identity: str, index: int, image_format: str) -> str:
    """Return the file name of an image, below the folder of its identity."""
    return f"{identity}_{index:04d}.{image_format}"


def index_of(file_name: str) -> int:
    """Return the number of an image from a name of :func:`image_name`."""
    return int(file_name.rpartition(".")[0].rpartition("_")[2])


def generated_row(
    drawn: Drawn,
    person: Identity,
    *,
    file_name: str,
    sha256: str,
    prompt: str,
    model_ids: Sequence[str],
    sampling: SamplingSettings,
) -> GeneratedImage:
    """Return the row of an image: "ok", or "failed" with the reason.

    Args:
        drawn: the image.
        person: whose.
        file_name: below the folder of the identity.
        sha256: of the file, "" if there is none.
        prompt: text it was drawn from.
        model_ids: models that took part.
        sampling: how it was drawn.
    """
    status: dict[str, Any] = {"sha256": sha256}
    if drawn.pixels is None:
        status = {"status": "failed", "reason": drawn.reason}
    return GeneratedImage(
        file_name=file_name,
        source_dataset=person.source_dataset,
        person_id=person.person_id,
        seed=drawn.request.seed,
        model_ids=tuple(model_ids),
        source_images=tuple(image.path for image in person.images),
        source_camera_id=person.images[0].camera if person.images else -1,
        prompt=prompt,
        steps=sampling.steps,
        guidance=sampling.guidance,
        **status,
    )
