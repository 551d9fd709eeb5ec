"""The sets that the miniature replication compares: with and without a part of the method.

A job generates images once; each choice of filters decides on a copy of them, cut to a share.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.config import load_config
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.generated_set.copies import decided_copy
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.stages.folder import expect_same_settings, open_job
from fastreid_ext.generation.stages.generate import FilterModels, generate

# Folders of the base models, as .miniature.recipe makes them.
_MODELS = {
    "BASE_MODEL": "pipeline",
    "CAPTIONS.CAPTIONER": "captioner",
    "CAPTIONS.TEXT_MODEL": "clip",
    "FILTER.CLIP.MODEL": "clip",
}
_REID_ONLY = ("GENERATION.FILTER.USE", "['reid']")
# Jobs, and what they leave out of the recipe.
JOBS: Mapping[str, Sequence[str]] = {
    "generated": (),
    "no_token": ("GENERATION.PROMPT.TOKEN", "", *_REID_ONLY),
    "no_reference_set": ("GENERATION.REFERENCE_SET.IMAGES", "0", *_REID_ONLY),
}
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ImageChoice:
    """Choice of the generated images that a backbone is pre-trained on.

    Attributes:
        job: name of the job, a key of :data:`JOBS`.
        filters: filters that decide on them, GENERATION.FILTER.USE.
        share: share of the kept images that is used, in (0, 1].
        rule: value of GENERATION.FILTER.REID.RULE; "" for the recipe's.
    """

    job: str = "generated"
    filters: tuple[str, ...] = ("reid",)
    share: float = 1.0
    rule: str = ""

    def __str__(self) -> str:
        words = (self.job, *(self.filters or ("all",)), self.rule, f"{self.share:g}")
        return "-".join(word for word in words if word)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedSets:
    """The jobs of one seed, ``<output>/<job>``, and the sets made of them, ``<output>/sets``.

    Attributes:
        recipe: path of the YAML file of the jobs.
        base: folder of the base models.
        output: folder of the jobs and sets of the seed.
        seed: value of SEED in every job.
        filters: training run folder of each filter model, "reid" and "cctf".
        overrides: KEY VALUE pairs of every job.
    """

    recipe: Path
    base: Path
    output: Path
    seed: int
    filters: Mapping[str, Path]
    overrides: Sequence[str] = ()

    def config(self, job: str) -> CfgNode:
        """Read the configuration of a job.

        Args:
            job: name of the job, a key of :data:`JOBS`.
        """
        pairs = ["SEED", str(self.seed), "OUTPUT_DIR", str(self.output / job)]
        for kind, run in self.filters.items():
            node = f"GENERATION.FILTER.{kind.upper()}"
            pairs += [f"{node}.CONFIG_FILE", str(run / "config.yaml")]
            pairs += [f"{node}.WEIGHTS", str(run / "model_final.pth")]
        for key, model in _MODELS.items():
            pairs += [f"GENERATION.{key}", str(self.base / model)]
        return load_config(self.recipe, [*pairs, *JOBS[job], *self.overrides])

    def make(
        self, choice: ImageChoice, models_of_filters: Callable[[CfgNode], FilterModels]
    ) -> Path:
        """Generate images if that is not done, and copy those that the filters keep.

        Args:
            choice: job, filters and share of the set.
            models_of_filters: function that opens the filters' models, see
                :func:`fastreid_ext.generation.stages.generate.generate`.

        Returns:
            Folder of the set.

        Raises:
            ValueError: the job was started with other settings.
        """
        cfg = self.config(choice.job)
        job = Layout(Path(cfg.OUTPUT_DIR))
        if (job.images / "dataset.json").is_file():
            expect_same_settings(cfg, job.output)
        else:
            with open_job(cfg) as opened:
                _log.info("%s", generate(opened, models_of_filters))
        cfg.defrost()
        cfg.GENERATION.FILTER.USE = list(choice.filters)
        cfg.GENERATION.FILTER.REID.RULE = choice.rule or cfg.GENERATION.FILTER.REID.RULE
        if "reid" in choice.filters and cfg.GENERATION.FILTER.REID.RULE == "percentile":
            # Computes the similarities of images that the model was not trained on, once.
            FilterRun(cfg, models_of_filters(cfg)).open_work()
        target = self.output / "sets" / str(choice)
        target.parent.mkdir(parents=True, exist_ok=True)
        return decided_copy(cfg, job.output, target, share=choice.share)
