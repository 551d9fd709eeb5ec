"""What can be wrong with the keys of the generation of persons, before a model is loaded."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.config.data_settings import GENERATED
from fastreid_ext.config.generation import (
    AGGREGATIONS,
    DTYPES,
    FILTERS,
    METHODS,
    SAMPLERS_OF_PIXELS,
    TARGETS_OF_LOSS,
    THRESHOLD_RULES,
)

_FORMATS = ("jpg", "png")
_UNLABELLED = "UnlabelledPersons"
_INFINITE = math.inf
# Key below GENERATION, least, most.
_RANGES = (
    ("IDENTITIES.MAX_IMAGES", 0, _INFINITE),
    ("IDENTITIES.MIN_IMAGES", 1, _INFINITE),
    ("IDENTITIES.MAX_FRAME_GAP", 0, _INFINITE),
    ("IDENTITIES.MIN_HEIGHT", 0, _INFINITE),
    ("IDENTITIES.MIN_SHARPNESS", 0, _INFINITE),
    ("IDENTITIES.LIMIT", 0, _INFINITE),
    ("CAPTIONS.MAX_TOKENS", 1, _INFINITE),
    ("CAPTIONS.BEAMS", 1, _INFINITE),
    ("CAPTIONS.BATCH_SIZE", 1, _INFINITE),
    ("CAPTIONS.MAX_IMAGES", 0, _INFINITE),
    ("REFERENCE_SET.IMAGES", 0, _INFINITE),
    ("REFERENCE_SET.MIN_SIMILARITY", -1, 1),
    ("FINE_TUNING.RANK", 1, _INFINITE),
    ("FINE_TUNING.ALPHA", 1, _INFINITE),
    ("FINE_TUNING.STEPS", 1, _INFINITE),
    ("FINE_TUNING.BATCH_SIZE", 1, _INFINITE),
    ("FINE_TUNING.ACCUMULATE", 1, _INFINITE),
    ("FINE_TUNING.BASE_LR", 0, 1),
    ("FINE_TUNING.WEIGHT_DECAY", 0, 1),
    ("FINE_TUNING.CLIP_GRADIENTS", 0, _INFINITE),
    ("FINE_TUNING.PRIOR_WEIGHT", 0, _INFINITE),
    ("FINE_TUNING.MAX_SAMPLE_WEIGHT", 0, _INFINITE),
    ("FINE_TUNING.IDENTITIES_AT_ONCE", 1, _INFINITE),
    ("SAMPLING.IMAGES_PER_IDENTITY", 1, _INFINITE),
    ("SAMPLING.STEPS", 1, _INFINITE),
    ("SAMPLING.GUIDANCE", 0, _INFINITE),
    ("SAMPLING.BATCH_SIZE", 1, _INFINITE),
    ("SAMPLING.QUALITY", 1, 95),
    ("FILTER.MAX_PER_IDENTITY", 0, _INFINITE),
    ("FILTER.MIN_PER_IDENTITY", 0, _INFINITE),
    ("FILTER.BATCH_SIZE", 1, _INFINITE),
    ("FILTER.REID.PERCENTILE", 0, 100),
    ("FILTER.REID.THRESHOLD", -1, 1),
    ("FILTER.CCTF.THRESHOLD", 0, 1),
    ("FILTER.CLIP.THRESHOLD", 0, 1),
    ("FILTER.DUPLICATES.MIN_DISTANCE", 0, 64),
)


def generation_names(cfg: CfgNode) -> list[tuple[str, Iterable[str], Iterable[str]]]:
    """Return the keys that hold names, what they hold and what is known."""
    generation = cfg.GENERATION
    named = (
        ("DTYPE", DTYPES),
        ("CAPTIONS.AGGREGATION", AGGREGATIONS),
        ("FINE_TUNING.METHOD", METHODS),
        ("FINE_TUNING.LOSS_ON", TARGETS_OF_LOSS),
        ("SAMPLING.FIT", SAMPLERS_OF_PIXELS),
        ("SAMPLING.FORMAT", _FORMATS),
        ("FILTER.REID.RULE", THRESHOLD_RULES),
    )
    rows = [(f"GENERATION.{key}", [_value(generation, key)], known) for key, known in named]
    return [*rows, ("GENERATION.FILTER.USE", generation.FILTER.USE, FILTERS)]


def generation_problems(cfg: CfgNode) -> list[str]:
    """Return what lies out of range or contradicts itself, each with what to do."""
    generation = cfg.GENERATION
    rules = (_sizes, _prompt_rules, _fine_tuning_rules, _other_rules)
    return [*_out_of_range(generation), *(text for rule in rules for text in rule(generation))]


def job_problems(cfg: CfgNode) -> list[str]:
    """Return what a job cannot do without, beyond what every configuration must fulfil.

    Training never asks for it, so the defaults may lack it.
    """
    problems = []
    if not cfg.DATASETS.NAMES:
        problems.append("DATASETS.NAMES is empty; name the data sets whose persons to draw")
    for name, advice in (
        (GENERATED, "persons are drawn from photographs; name the sets it was made from"),
        (_UNLABELLED, "it has no identities; name a labelled set"),
    ):
        if name in cfg.DATASETS.NAMES:
            problems.append(f"DATASETS.NAMES has {name}, but {advice}")
    if not cfg.OUTPUT_DIR:
        problems.append("OUTPUT_DIR is empty; name the folder in which everything is written")
    if cfg.GENERATION.DTYPE == "float16":  # said now, not after captions and reference sets
        problems.append(
            "GENERATION.DTYPE is float16, in which small gradients become 0, so that nobody can be "
            "learned; bfloat16 costs the same"
        )
    return [
        *problems,
        *filter_model_problems(cfg.GENERATION.FILTER, cfg.DATASETS.NAMES),
        *_local_models(cfg.GENERATION),
    ]


def _value(generation: CfgNode, key: str) -> Any:
    node = generation
    for part in key.split("."):
        node = node[part]
    return node


def _out_of_range(generation: CfgNode) -> Iterator[str]:
    for key, least, most in _RANGES:
        value = _value(generation, key)
        if not least <= value <= most:
            wanted = f">= {least}" if most == _INFINITE else f"in [{least}, {most}]"
            yield f"expected GENERATION.{key} {wanted}, got {value}"


def _sizes(generation: CfgNode) -> Iterator[str]:
    for key, factor, why in (
        ("SIZE", 8, " multiples of 8, the step of Stable Diffusion's latents"),
        ("SAMPLING.OUTPUT_SIZE", 1, ""),
    ):
        size = list(_value(generation, key))
        good = [isinstance(n, int) and n > 0 and n % factor == 0 for n in size]
        if len(size) != 2 or not all(good):
            yield f"expected GENERATION.{key} [height, width] in pixels,{why} above 0, got {size}"


def _prompt_rules(generation: CfgNode) -> Iterator[str]:
    template, token = generation.PROMPT.TEMPLATE, generation.PROMPT.TOKEN
    try:
        fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        yield f"GENERATION.PROMPT.TEMPLATE '{template}': {error}; write {{token}} and {{caption}}"
        return
    if unknown := sorted(fields - {"token", "caption"}):
        yield (
            f"unknown field '{{{unknown[0]}}}' in GENERATION.PROMPT.TEMPLATE; known: {{token}}, "
            "{caption}"
        )
    if token and "token" not in fields:
        yield (
            f"GENERATION.PROMPT.TOKEN is '{token}' but PROMPT.TEMPLATE has no {{token}}; add it, "
            'or set TOKEN "" to learn without an identity token'
        )
    if re.search(r"\s", token):
        yield f"expected GENERATION.PROMPT.TOKEN without spaces, got '{token}'; one rare token"
    if generation.PROMPT.TRAIN_TOKEN and not token:
        yield (
            "GENERATION.PROMPT.TRAIN_TOKEN is True but PROMPT.TOKEN is empty; name the token the "
            "new one starts from"
        )


def _fine_tuning_rules(generation: CfgNode) -> Iterator[str]:
    tuning, reference = generation.FINE_TUNING, generation.REFERENCE_SET
    if tuning.METHOD == "lora" and tuning.TEXT_ENCODER:
        yield (
            "GENERATION.FINE_TUNING.TEXT_ENCODER is True, but METHOD lora trains adapters of the "
            "U-Net alone; set METHOD full, or PROMPT.TRAIN_TOKEN True for words"
        )
    if tuning.METHOD == "lora" and not tuning.TARGET_MODULES:
        yield "GENERATION.FINE_TUNING.TARGET_MODULES is empty; to_q, to_k, to_v, to_out.0 are usual"
    if tuning.BASE_LR == 0:
        yield "GENERATION.FINE_TUNING.BASE_LR is 0, so nothing would be learned"
    if reference.IMAGES and tuning.PRIOR_WEIGHT == 0:
        yield (
            f"GENERATION.REFERENCE_SET.IMAGES is {reference.IMAGES}, but FINE_TUNING.PRIOR_WEIGHT "
            "is 0, so they would be drawn for nothing; set IMAGES 0"
        )


def _other_rules(generation: CfgNode) -> Iterator[str]:
    identities, sampling, filters = generation.IDENTITIES, generation.SAMPLING, generation.FILTER
    if 0 < identities.MAX_IMAGES < identities.MIN_IMAGES:
        yield (
            "expected GENERATION.IDENTITIES.MAX_IMAGES 0 or at least MIN_IMAGES, got "
            f"{identities.MAX_IMAGES} and {identities.MIN_IMAGES}"
        )
    if not generation.CAPTIONS.QUESTIONS:
        yield 'GENERATION.CAPTIONS.QUESTIONS is empty; ask at least one ("" = a plain caption)'
    if sampling.NEGATIVE_PROMPT and sampling.GUIDANCE <= 1:
        yield (
            "GENERATION.SAMPLING.NEGATIVE_PROMPT has no effect with GUIDANCE "
            f"{sampling.GUIDANCE}; raise GUIDANCE above 1 or empty the prompt"
        )
    if len(set(filters.USE)) < len(filters.USE):
        yield f"expected each filter once in GENERATION.FILTER.USE, got {list(filters.USE)}"
    if 0 < filters.MAX_PER_IDENTITY < filters.MIN_PER_IDENTITY:
        yield (
            "expected GENERATION.FILTER.MAX_PER_IDENTITY 0 or at least MIN_PER_IDENTITY, got "
            f"{filters.MAX_PER_IDENTITY} and {filters.MIN_PER_IDENTITY}"
        )
    if filters.REID.RULE == "nearest" and not filters.REID.NEAREST:
        yield (
            "GENERATION.FILTER.REID.RULE is nearest but NEAREST is False, so every image would "
            "pass; set NEAREST True, or RULE fixed with a THRESHOLD"
        )
    if len(filters.CLIP.TEXTS) < 2:
        yield "GENERATION.FILTER.CLIP.TEXTS needs what is wanted and something to compare it with"


def filter_model_problems(filters: CfgNode, data_sets: Iterable[str]) -> Iterator[str]:
    """Yield what the models of ``GENERATION.FILTER`` lack that were trained by this project.

    Args:
        filters: ``GENERATION.FILTER``.
        data_sets: ``DATASETS.NAMES``.
    """
    rows = filters.REID.MODELS
    if bad := [row for row in rows if not isinstance(row, (list, tuple)) or len(row) != 3]:
        yield (
            "expected GENERATION.FILTER.REID.MODELS as [[data set, config.yaml, model.pth], ...], "
            f"got {bad[0]}"
        )
        return
    yield from _models_by_set(rows, list(data_sets))
    needed = set(filters.USE)
    if {row[0] for row in rows} >= set(data_sets) and rows:
        needed.discard("reid")  # each set has its own
    for name in ("reid", "cctf"):
        node, key = filters[name.upper()], f"GENERATION.FILTER.{name.upper()}"
        for part in ("CONFIG_FILE", "WEIGHTS"):
            path = node[part]
            if path and not Path(path).expanduser().is_file():
                yield f"no file at {path} ({key}.{part}); give the path of an existing file"
            if path:
                continue
            if name in needed:
                yield (
                    f"GENERATION.FILTER.USE is {list(filters.USE)}, but {key}.{part} is empty; "
                    "train a model on the source set (tools/train_net.py) and name its "
                    f"config.yaml and model_final.pth, or take {name} out of USE"
                )
            elif other := node.CONFIG_FILE or node.WEIGHTS:
                yield (
                    f"{key} names {other}, but its {part} is empty; name both config.yaml and "
                    "model_final.pth of a run, or neither"
                )


def _models_by_set(rows: Iterable[Sequence[str]], data_sets: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the rows of ``GENERATION.FILTER.REID.MODELS``."""
    seen: set[str] = set()
    for data_set, *paths in rows:
        if data_set not in data_sets:
            yield (
                f"GENERATION.FILTER.REID.MODELS names {data_set}, which is not in DATASETS.NAMES "
                f"({', '.join(data_sets)}); take it out, or add the data set"
            )
        if data_set in seen:
            yield f"GENERATION.FILTER.REID.MODELS names {data_set} twice; keep one row"
        seen.add(data_set)
        for path in paths:
            if not Path(path).expanduser().is_file():
                yield (
                    f"no file at {path} (GENERATION.FILTER.REID.MODELS, {data_set}); give the path "
                    "of an existing file"
                )


def _local_models(generation: CfgNode) -> Iterator[str]:
    keys = (
        "BASE_MODEL",
        "VAE",
        "CAPTIONS.CAPTIONER",
        "CAPTIONS.TEXT_MODEL",
        "SAMPLING.FEW_STEP_ADAPTER",
    )
    keys += ("FILTER.CLIP.MODEL",) if "clip" in generation.FILTER.USE else ()
    for key in keys:
        path = _value(generation, key)
        # "owner/name" is an id of the hub; anything else can only be a folder.
        is_id = re.fullmatch(r"[\w.-]+/[\w.-]+|[\w-]+", path) and not path.startswith(".")
        if path and not is_id and not Path(path).expanduser().is_dir():
            yield (
                f"no folder at {path} (GENERATION.{key}); give the id of a model on the hub, or "
                "a local folder in its layout"
            )
