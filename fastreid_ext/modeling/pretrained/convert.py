"""Convert a weight file of any family to safetensors in a backbone's own names.

Metadata of the target: ``family``, ``source`` (name of the file),
``source_sha256``, ``mean`` and ``std`` (JSON, images in [0, 1]; absent where unknown),
``activation`` of a CLIP, ``image_size`` of one of our runs.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

import safetensors.torch
from torch import nn

from fastreid_ext.modeling.pretrained.families import AUTO
from fastreid_ext.modeling.pretrained.files import read_weights
from fastreid_ext.modeling.pretrained.load import LoadPlan, plan_load
from fastreid_ext.modeling.pretrained.normalisation import Normalisation
from fastreid_ext.modeling.pretrained.report import LoadReport


def converted(
    backbone: nn.Module,
    path: str | Path,
    *,
    family: str = AUTO,
    min_matched: float = 0.9,
    normalisation: Normalisation | None = None,
) -> tuple[bytes, LoadReport]:
    """Convert the tensors of ``path`` that fit a backbone into a safetensors file, with a report.

    Position embeddings and bias tables keep their size; they are resized when they are loaded.

    Args:
        backbone: network whose names the target uses; it stays unchanged.
        path: weight file, folder with the layout of the hubs, or ``hf-hub:owner/name``.
        family: name of the file's family, or "" to recognise it.
        min_matched: share in [0, 1] of the backbone's tensors that the file must hold.
        normalisation: normalisation of the images in pre-training; None takes that of the file or
            its family.

    Returns:
        Bytes of the safetensors file, and the report.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_pretrained` raises them.
    """
    file = read_weights(path)
    plan = plan_load(backbone, file, family=family, min_matched=min_matched)
    normalisation = normalisation or plan.report.normalisation
    metadata = {
        "family": plan.report.family,
        "source": file.path.name,
        "source_sha256": _sha256(file.path),
    }
    if normalisation is not None:
        metadata |= {"mean": json.dumps(normalisation.mean), "std": json.dumps(normalisation.std)}
    if plan.report.activation is not None:
        metadata["activation"] = plan.report.activation
    if file.declared.image_size is not None:
        metadata["image_size"] = json.dumps(file.declared.image_size)
    tensors = {name: value.clone().contiguous() for name, value in plan.stored.items()}
    return safetensors.torch.save(tensors, metadata), _of_stored(plan)


def expect_target(target: Path, source: str | Path) -> Path:
    """Check that ``target`` can be written, before any weights are read, and return it.

    Raises:
        ValueError: the name does not end in .safetensors, or the target is the source.
    """
    if target.suffix != ".safetensors":
        raise ValueError(
            f"expected the name of a .safetensors file to write, got {target}; that is the format"
        )
    if target.resolve() == Path(source).resolve():
        raise ValueError(f"{target} is the source and would be overwritten; give another name")
    return target


def _of_stored(plan: LoadPlan) -> LoadReport:
    """Remove from the report the tensors that are resized only when the target is loaded."""
    kept = [
        line
        for line in plan.report.resized
        if plan.stored[name := line.split(":")[0]].shape == plan.fitting[name].shape
    ]
    return dataclasses.replace(plan.report, resized=kept)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
