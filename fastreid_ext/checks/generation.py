"""Keys of ``GENERATION``: allowed values, when they are read, and contradictions."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Formatter

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import ALWAYS, has_any_of, is_above, is_any_of, value_of
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import (
    ANYTHING,
    AT_LEAST_0,
    COUNT,
    SHARE,
    Names,
    Numbers,
    Range,
)
from fastreid_ext.data.own_sets import GENERATED, UNLABELLED

RESIZE_MODES = ("resize", "crop")
METHODS = ("lora", "full")
TARGETS_OF_LOSS = ("prediction", "sample")
AGGREGATIONS = ("medoid", "vote")
FILTERS = ("reid", "cctf", "clip", "duplicates")
THRESHOLD_RULES = ("nearest", "percentile", "fixed")
DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("jpg", "png")


class LatentSize(Numbers):
    """Heights and widths that Stable Diffusion's latents, 1/8 of an image, can represent."""

    def problem(self, key: str, value: list[int]) -> str:
        """Describe the mistake in a size; "" for an allowed one."""
        if not super().problem(key, value) and not any(side % 8 for side in value):
            return ""
        return (
            f"expected {key} [height, width] in pixels, multiples of 8, the step of Stable "
            f"Diffusion's latents above 0, got {list(value)}"
        )


_REFERENCES = is_above("GENERATION.REFERENCE_SET.IMAGES")
_METHOD = "GENERATION.FINE_TUNING.METHOD"
_LORA = is_any_of(_METHOD, "lora")
_FULL = is_any_of(_METHOD, "full")
_REID = has_any_of("GENERATION.FILTER.USE", "reid")
_RULE = "GENERATION.FILTER.REID.RULE"

ROWS: list[Row] = [
    *rows_of(
        "GENERATION",
        BASE_MODEL=ANYTHING,
        VAE=ANYTHING,
        REVISION=ANYTHING,
        DOWNLOAD=ANYTHING,
        DTYPE=Names(DTYPES),
        MAX_FAILED=SHARE,
        SIZE=LatentSize((2,), COUNT, "[height, width] in pixels", whole=True),
    ),
    *rows_of(
        "GENERATION.COMPUTE",
        CHANNELS_LAST=ANYTHING,
        COMPILE=ANYTHING,
        TF32=ANYTHING,
        ATTENTION_SLICING=ANYTHING,
        VAE_SLICING=ANYTHING,
        VAE_TILING=ANYTHING,
    ),
    *rows_of(
        "GENERATION.IDENTITIES",
        MAX_IMAGES=AT_LEAST_0,
        MIN_IMAGES=COUNT,
        SAME_CAMERA=ANYTHING,
        MAX_FRAME_GAP=(AT_LEAST_0, is_any_of("GENERATION.IDENTITIES.SAME_CAMERA", True)),
        MIN_HEIGHT=AT_LEAST_0,
        MIN_SHARPNESS=AT_LEAST_0,
        LIMIT=AT_LEAST_0,
    ),
    *rows_of(
        "GENERATION.CAPTIONS",
        CAPTIONER=ANYTHING,
        REVISION=ANYTHING,
        QUESTIONS=ANYTHING,
        MAX_TOKENS=COUNT,
        BEAMS=COUNT,
        BATCH_SIZE=COUNT,
        MAX_IMAGES=AT_LEAST_0,
        AGGREGATION=Names(AGGREGATIONS),
        TEXT_MODEL=ANYTHING,
    ),
    *rows_of("GENERATION.PROMPT", TEMPLATE=ANYTHING, TOKEN=ANYTHING, TRAIN_TOKEN=ANYTHING),
    Row("GENERATION.REFERENCE_SET.IMAGES", AT_LEAST_0),
    Row("GENERATION.REFERENCE_SET.MIN_SIMILARITY", Range(-1, 1), _REFERENCES),
    *rows_of(
        "GENERATION.FINE_TUNING",
        METHOD=Names(METHODS),
        RANK=(COUNT, _LORA),
        ALPHA=(COUNT, _LORA),
        TARGET_MODULES=(ANYTHING, _LORA),
        TEXT_ENCODER=(ANYTHING, _FULL),
        STEPS=COUNT,
        BATCH_SIZE=COUNT,
        GRADIENT_ACCUMULATION=COUNT,
        BASE_LR=Range(0, 1, is_above=True, hint="at 0 no weight would change"),
        WEIGHT_DECAY=SHARE,
        MAX_GRAD_NORM=AT_LEAST_0,
        PRIOR_WEIGHT=(AT_LEAST_0, _REFERENCES),
        LOSS_ON=Names(TARGETS_OF_LOSS),
        MAX_SAMPLE_WEIGHT=(
            AT_LEAST_0,
            is_any_of("GENERATION.FINE_TUNING.LOSS_ON", "sample"),
        ),
        IDENTITIES_AT_ONCE=(COUNT, _LORA),
        GRADIENT_CHECKPOINTING=ANYTHING,
        KEEP_FULL_WEIGHTS=(ANYTHING, _FULL),
        KEEP_ADAPTERS=(ANYTHING, _LORA),
        ADAPTER_DTYPE=(Names(DTYPES), _LORA),
    ),
    *rows_of(
        "GENERATION.SAMPLING",
        IMAGES_PER_IDENTITY=COUNT,
        MIN_KEPT=AT_LEAST_0,
        MAX_IMAGES_PER_IDENTITY=(COUNT, is_above("GENERATION.SAMPLING.MIN_KEPT")),
        SCHEDULER=ANYTHING,
        STEPS=COUNT,
        GUIDANCE_SCALE=AT_LEAST_0,
        NEGATIVE_PROMPT=(ANYTHING, is_above("GENERATION.SAMPLING.GUIDANCE_SCALE", 1)),
        BATCH_SIZE=COUNT,
        SAVE_SIZE=Numbers((2,), COUNT, "[height, width] in pixels", whole=True),
        RESIZE_MODE=Names(RESIZE_MODES),
        PROMPTS=ANYTHING,
        PROMPTS_FILE=ANYTHING,
        FEW_STEP_ADAPTER=ANYTHING,
        FORMAT=Names(FORMATS),
        QUALITY=(Range(1, 95), is_any_of("GENERATION.SAMPLING.FORMAT", "jpg")),
    ),
    *rows_of(
        "GENERATION.FILTER",
        USE=Names(FILTERS),
        MAX_PER_IDENTITY=AT_LEAST_0,
        MIN_PER_IDENTITY=AT_LEAST_0,
        BATCH_SIZE=COUNT,
    ),
    *rows_of(
        "GENERATION.FILTER.REID",
        CONFIG_FILE=ANYTHING,  # a model that is named scores, whether its filter decides or not
        WEIGHTS=ANYTHING,
        MODELS=ANYTHING,
        RULE=(Names(THRESHOLD_RULES), _REID),
        PERCENTILE=(Range(0, 100), _REID & is_any_of(_RULE, "percentile")),
        THRESHOLD=(Range(-1, 1), _REID & is_any_of(_RULE, "fixed")),
        NEAREST=(ANYTHING, _REID),
    ),
    *rows_of(
        "GENERATION.FILTER.CCTF",
        CONFIG_FILE=ANYTHING,
        WEIGHTS=ANYTHING,
        THRESHOLD=(SHARE, has_any_of("GENERATION.FILTER.USE", "cctf")),
    ),
    *rows_of(
        "GENERATION.FILTER.CLIP",
        has_any_of("GENERATION.FILTER.USE", "clip"),
        MODEL=(ANYTHING, ALWAYS),  # a place, as CONFIG_FILE
        TEXTS=ANYTHING,
        THRESHOLD=SHARE,
    ),
    Row(
        "GENERATION.FILTER.DUPLICATES.MIN_DISTANCE",
        Range(0, 64),
        has_any_of("GENERATION.FILTER.USE", "duplicates"),
    ),
]


def generation_problems(cfg: CfgNode) -> list[str]:
    """List contradictions between keys of ``GENERATION``, each with its remedy."""
    generation = cfg.GENERATION
    rules = (_prompt_rules, _fine_tuning_rules, _growth_rules, _other_rules)
    return [text for rule in rules for text in rule(generation)]


def job_problems(cfg: CfgNode) -> list[str]:
    """List the requirements of a job that the configuration does not meet, each with its remedy.

    Training does not have these requirements, so the defaults need not meet them.
    """
    problems = []
    if not cfg.DATASETS.NAMES:
        problems.append("DATASETS.NAMES is empty; name the data sets whose identities to generate")
    for name, advice in (
        (GENERATED, "identities are fine-tuned on real images; name the sets it was made from"),
        (UNLABELLED, "it has no identities; name a labelled set"),
    ):
        if name in cfg.DATASETS.NAMES:
            problems.append(f"DATASETS.NAMES has {name}, but {advice}")
    if not cfg.OUTPUT_DIR:
        problems.append("OUTPUT_DIR is empty; name the folder in which everything is written")
    if cfg.GENERATION.DTYPE == "float16":
        problems.append(
            "GENERATION.DTYPE is float16, in which small gradients become 0; set it to bfloat16, "
            "which costs the same, to fine-tune"
        )
    return [
        *problems,
        *filter_model_problems(cfg.GENERATION.FILTER, cfg.DATASETS.NAMES),
        *_local_models(cfg.GENERATION),
    ]


def _prompt_rules(generation: CfgNode) -> Iterator[str]:
    template = generation.PROMPT.TEMPLATE
    token = generation.PROMPT.TOKEN
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
            'or set TOKEN "" to fine-tune without an identity token'
        )
    if re.search(r"\s", token):
        yield f"expected GENERATION.PROMPT.TOKEN without spaces, got '{token}'; one rare token"
    if generation.PROMPT.TRAIN_TOKEN and not token:
        yield (
            "GENERATION.PROMPT.TRAIN_TOKEN is True but PROMPT.TOKEN is empty; name the token the "
            "new one starts from"
        )


def _fine_tuning_rules(generation: CfgNode) -> Iterator[str]:
    tuning = generation.FINE_TUNING
    reference = generation.REFERENCE_SET
    if tuning.METHOD == "lora" and not tuning.TARGET_MODULES:
        yield "GENERATION.FINE_TUNING.TARGET_MODULES is empty; to_q, to_k, to_v, to_out.0 are usual"
    if reference.IMAGES and tuning.PRIOR_WEIGHT == 0:
        yield (
            f"GENERATION.REFERENCE_SET.IMAGES is {reference.IMAGES}, but FINE_TUNING.PRIOR_WEIGHT "
            "is 0, so they would be generated for nothing; set IMAGES 0"
        )


def _growth_rules(generation: CfgNode) -> Iterator[str]:
    sampling = generation.SAMPLING
    tuning = generation.FINE_TUNING
    filters = generation.FILTER
    least = sampling.MIN_KEPT
    most = sampling.MAX_IMAGES_PER_IDENTITY
    if not least:
        return
    key = f"GENERATION.SAMPLING.MIN_KEPT is {least}"
    if most < max(least, sampling.IMAGES_PER_IDENTITY):
        yield (
            f"{key} with IMAGES_PER_IDENTITY {sampling.IMAGES_PER_IDENTITY}, but "
            f"SAMPLING.MAX_IMAGES_PER_IDENTITY is {most}; raise it to the larger of both or more"
        )
    if not filters.USE:
        yield f"{key}, but GENERATION.FILTER.USE is empty; name a filter, or set MIN_KEPT 0"
    if 0 < filters.MAX_PER_IDENTITY < least:
        yield (
            f"{key}, but GENERATION.FILTER.MAX_PER_IDENTITY {filters.MAX_PER_IDENTITY} keeps "
            "fewer; raise it, or set it 0"
        )
    keep = "KEEP_FULL_WEIGHTS" if tuning.METHOD == "full" else "KEEP_ADAPTERS"
    if not tuning[keep]:
        yield (
            f"{key}, but GENERATION.FINE_TUNING.{keep} is False, so an identity would be "
            f"fine-tuned again each time it gets more images; set {keep} True"
        )


def _other_rules(generation: CfgNode) -> Iterator[str]:
    identities = generation.IDENTITIES
    filters = generation.FILTER
    if 0 < identities.MAX_IMAGES < identities.MIN_IMAGES:
        yield (
            "expected GENERATION.IDENTITIES.MAX_IMAGES 0 or at least MIN_IMAGES, got "
            f"{identities.MAX_IMAGES} and {identities.MIN_IMAGES}"
        )
    if not generation.CAPTIONS.QUESTIONS:
        yield 'GENERATION.CAPTIONS.QUESTIONS is empty; ask at least one ("" = a plain caption)'
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
    """Check the files of the filters' Re-ID models; yield each mistake with its remedy.

    Args:
        filters: node ``GENERATION.FILTER`` of a configuration.
        data_sets: names of the source sets, ``DATASETS.NAMES``.
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
        node = filters[name.upper()]
        key = f"GENERATION.FILTER.{name.upper()}"
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
    """Check the rows of ``GENERATION.FILTER.REID.MODELS``; yield each mistake with its remedy."""
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
        path = value_of(generation, key)
        # "owner/name" is an id of the hub; anything else can only be a folder.
        is_id = re.fullmatch(r"[\w.-]+/[\w.-]+|[\w-]+", path) and not path.startswith(".")
        if path and not is_id and not Path(path).expanduser().is_dir():
            yield (
                f"no folder at {path} (GENERATION.{key}); give the id of a model on the hub, or "
                "a local folder in its layout"
            )
