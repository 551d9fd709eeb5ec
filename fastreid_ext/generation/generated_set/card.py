"""What a finished set says of itself: ``dataset.json``, and the card in the hub's form."""

import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode

import fastreid_ext
from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.generated_set.distribution import (
    Distribution,
    distribution_of,
    rows_by_identity,
)
from fastreid_ext.manifest import GeneratedSet, read_set, write_set

CARD = "README.md"
_LEARNED = "adapters/"  # model ids of what was learned of a person
_PACKAGES = ("torch", "diffusers", "transformers", "peft")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TEXT = """\
# {title}

{images} pictures of {identities} persons, drawn by a diffusion model that was fine-tuned on the
photographs of each of them (Diffusion-ReID, [arXiv 2406.06045](https://arxiv.org/abs/2406.06045)).
No picture is a photograph. The persons are those of {sources}.

{table}

## How it was made

| step | setting |
|---|---|
{steps}

Seed {seed}. Every row names the seed, the models, the prompt and the source images of its picture;
`job.json` of the job has all settings.

## Files

`<identity>/*.{suffix}` and `<identity>/metadata.jsonl`, one row a picture: `status` is `ok` or
`rejected` (by a filter, with the `reason`); `scores` are those of the filters. Use rows that are
`ok` only:

```python
from datasets import load_dataset

persons = load_dataset("imagefolder", data_dir="<this folder>", split="train")
kept = persons.filter(lambda row: row["status"] == "ok")
```

or name the folder in `DATASETS.GENERATED.ROOTS` of fastreid_ext and `GeneratedPersons` in
`DATASETS.NAMES`.

## What to know before using it

- The persons exist: a picture may show one as they never were, and may reproduce a photograph. The
  terms of {sources} and of {models} bind whoever passes this set on.
- What the base model has learned of people, its prejudices too, is in the pictures.
- The identity of a picture is the one it was meant to show. {filters}
"""


def write_description(settings: Mapping[str, Any], images: Path) -> GeneratedSet:
    """Write ``dataset.json`` with the models and counts that the rows have now.

    Args:
        settings: settings of the job that decide what an image is, as ``job.json`` holds them.
        images: folder of the generated set.
    """
    rows = [row for own in rows_by_identity(images).values() for row in own]
    models = {model for row in rows for model in row.image.model_ids}
    text = json.dumps(settings, sort_keys=True)
    description = GeneratedSet(
        generator=f"fastreid_ext {fastreid_ext.__version__} tools/generate_persons.py",
        base_models=tuple(sorted(model for model in models if not model.startswith(_LEARNED))),
        config_hash=hashlib.sha256(text.encode()).hexdigest(),
        package_versions=_versions(),
        counts=dict(Counter(row.image.status for row in rows)),
    )
    write_set(images, description)
    return description


def write_card(cfg: CfgNode, images: Path, title: str) -> Path:
    """Write the card of a finished set.

    Args:
        cfg: configuration of the job.
        images: the set's folder, with ``dataset.json``.
        title: name of the set.

    Raises:
        FileNotFoundError: the set is not finished.
    """
    generated, _ = read_set(images)
    distribution = distribution_of(rows_by_identity(images))
    head = yaml.safe_dump(_head(title, int(distribution.drawn.sum())), sort_keys=False)
    path = images / CARD
    atomic_write_text(path, f"---\n{head}---\n\n{_body(cfg, generated, distribution, title)}")
    return path


def _body(cfg: CfgNode, generated: GeneratedSet, distribution: Distribution, title: str) -> str:
    generation = cfg.GENERATION
    table = "\n".join(f"| {what} | {number} |" for what, number in distribution.table())
    used = ", ".join(generation.FILTER.USE)
    return _TEXT.format(
        title=title,
        images=distribution.drawn.sum(),
        identities=len(distribution.names),
        sources=" and ".join(cfg.DATASETS.NAMES),
        models=", ".join(generated.base_models),
        table=f"| | |\n|---|---|\n{table}",
        steps="\n".join(f"| {what} | {setting} |" for what, setting in _steps(cfg)),
        seed=cfg.SEED,
        suffix=generation.SAMPLING.FORMAT,
        filters=f"Pictures were filtered by: {used}." if used else "Nothing was filtered.",
    )


def _steps(cfg: CfgNode) -> list[tuple[str, str]]:
    generation = cfg.GENERATION
    tuning, sampling, filters = generation.FINE_TUNING, generation.SAMPLING, generation.FILTER
    reference, (height, width) = generation.REFERENCE_SET, sampling.SAVE_SIZE
    return [
        ("base model", f"`{generation.BASE_MODEL}`"),
        ("captions", f"`{generation.CAPTIONS.CAPTIONER}`, {generation.CAPTIONS.AGGREGATION}"),
        ("prompt", f"`{generation.PROMPT.TEMPLATE}`, {_token(generation.PROMPT)}"),
        ("reference set", f"{reference.IMAGES} images, lambda {tuning.PRIOR_WEIGHT}"),
        (
            "fine-tuning",
            f"{tuning.METHOD}, {tuning.STEPS} steps of "
            f"{tuning.BATCH_SIZE * tuning.GRADIENT_ACCUMULATION}, "
            f"rate {tuning.BASE_LR}",
        ),
        (
            "drawing",
            f"{sampling.SCHEDULER}, {sampling.STEPS} steps, guidance {sampling.GUIDANCE_SCALE}, "
            f"{generation.SIZE[0]}x{generation.SIZE[1]}, saved as {height}x{width}",
        ),
        ("filters", ", ".join(filters.USE) or "none"),
    ]


def _token(prompt: CfgNode) -> str:
    if prompt.TRAIN_TOKEN:
        return f"an identity token each, trained from `{prompt.TOKEN}`"
    return f"identity token `{prompt.TOKEN}`" if prompt.TOKEN else "no identity token"


def _head(title: str, images: int) -> dict[str, object]:
    size = next((name for limit, name in _SIZES if images < limit), "1M<n<10M")
    return {
        "pretty_name": title,
        "license": "other",
        "license_name": "terms-of-the-source-set-and-of-the-base-model",
        "task_categories": ["image-classification"],
        "tags": ["person-re-identification", "synthetic", "diffusion"],
        "size_categories": [size],
    }


def _versions() -> dict[str, str]:
    own = {"fastreid_ext": fastreid_ext.__version__}
    return own | {name: importlib.metadata.version(name) for name in _PACKAGES}
