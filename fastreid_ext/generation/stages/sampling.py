"""Stage 5: generate the images of identities with their fine-tuned weights.

Read from the top: :func:`sample` is the stage, :class:`SamplingWork` is done for each group of
identities, with adapters of METHOD lora or whole weights of METHOD full.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from torch import Tensor

from fastreid_ext.diffusion.adapter_files import LORA, is_fine_tuned
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.settings import FineTuned
from fastreid_ext.generation.fine_tuning.trained_token import encode_with_tokens, read_embedding
from fastreid_ext.generation.runs.stage import SAMPLE, StageReport, reason_of, run_stage
from fastreid_ext.generation.sampling.identity_images import (
    IdentityImagesSettings,
    SamplingTask,
    sample_identities,
)
from fastreid_ext.generation.sampling.sampler import check_sampling_settings
from fastreid_ext.generation.stages.full_weights import (
    with_weights_in_memory,
    with_weights_of_folder,
)
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.manifest import sha256_of


def sample(job: Job, names: Sequence[str]) -> StageReport:
    """Generate the images of this worker's identities into ``images/<identity>``.

    Args:
        job: job whose captions are made.
        names: fine-tuned identities of all workers, in the same order for all.
    """
    images = job.cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY
    return run_stage(
        names,
        lambda: SamplingWork(job),
        lambda name: job.layout.has_images(name, images),
        stage=SAMPLE,
        worker=job.worker,
        together=job.cfg.GENERATION.FINE_TUNING.IDENTITIES_AT_ONCE,
    )


def sample_fine_tuned(job: Job, names: Sequence[str]) -> tuple[StageReport, int]:
    """Generate the images of those of the identities that have been fine-tuned.

    Args:
        job: job whose captions are made.
        names: identities of all workers, in the same order for all.

    Returns:
        Report of the stage, and the number of identities that are not fine-tuned yet.
    """
    fine_tuned = [name for name in names if is_fine_tuned(job.layout.adapter(name))]
    return sample(job, fine_tuned), len(names) - len(fine_tuned)


class SamplingWork:
    """Generate the images of groups of identities; images that exist stay, missing ones are added.

    Args:
        job: job in which the weights of the identities are in place.
        in_memory: weights of METHOD full that fine-tuning left in memory, by identity; each is
            removed from it when it is used.
        numbers: number of images of identities that have another one than IMAGES_PER_IDENTITY.
    """

    def __init__(
        self,
        job: Job,
        in_memory: dict[str, FineTuned] | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> None:
        self._job = job
        self._model = job.sampling_model
        self._in_memory = {} if in_memory is None else in_memory
        self._numbers = numbers or {}
        self._settings = IdentityImagesSettings.from_config(job.cfg)
        check_sampling_settings(self._model, self._settings.sampling)
        tuning = job.cfg.GENERATION.FINE_TUNING
        self._bank = None
        if tuning.METHOD == "lora":
            self._bank = LoraBank(
                self._model.unet,
                count=tuning.IDENTITIES_AT_ONCE,
                rank=tuning.RANK,
                alpha=tuning.ALPHA,
                target_modules=tuning.TARGET_MODULES,
            )

    def __call__(self, names: Sequence[str]) -> dict[str, str]:
        """Generate the images of a group.

        Args:
            names: at most IDENTITIES_AT_ONCE fine-tuned identities.

        Returns:
            Reason of each identity that failed, by name.
        """
        if self._bank is None:
            return self._sample_with_full_weights(names)
        return self._sample_with_adapters(self._bank, names)

    def _sample_with_adapters(self, bank: LoraBank, names: Sequence[str]) -> dict[str, str]:
        """Generate the images of all identities in shared batches, each with its own adapter."""
        reasons: dict[str, str] = {}
        tasks: list[SamplingTask] = []
        for name in names:
            folder = self._job.layout.adapter(name)
            try:
                bank.load(len(tasks), folder)
                digest = sha256_of(folder / LORA)
                embedding = self._embedding(name, self._model)
            except (OSError, ValueError) as error:  # the others stay together in one batch
                reasons[name] = reason_of(error)
                continue
            tasks.append(self._task(name, digest, embedding, adapter=len(tasks)))
        failed = sample_identities(self._model, bank, tasks, self._job.layout, self._settings)
        return reasons | failed

    def _sample_with_full_weights(self, names: Sequence[str]) -> dict[str, str]:
        """Generate the images of one identity after the other, each with its own U-Net."""
        reasons: dict[str, str] = {}
        for name in names:
            tuned = self._in_memory.pop(name, None)
            if tuned is not None:
                own, digest = with_weights_in_memory(self._model, tuned)
            else:
                folder = self._job.layout.adapter(name)
                own, digest = with_weights_of_folder(self._model, folder)
            embedding = self._embedding(name, own)
            task = self._task(name, digest, embedding)
            named = dataclasses.replace(self._job.with_few_steps(own), name=self._model.name)
            reasons |= sample_identities(named, None, [task], self._job.layout, self._settings)
        return reasons

    def _task(
        self, name: str, digest: str, embedding: Tensor | None, adapter: int = -1
    ) -> SamplingTask:
        """Collect what the images of an identity are generated from."""
        wanted = self._numbers.get(name, self._settings.images)
        return SamplingTask(
            identity=self._job.identities[name],
            prompts=self._job.prompts[name].sampled,
            embedding=embedding,
            adapter=adapter,
            model_id=f"adapters/{name}@{digest[:12]}",
            indices=range(self._job.layout.image_count(name), wanted),
        )

    def _embedding(self, name: str, model: StableDiffusion) -> Tensor | None:
        """Encode the prompts of an identity that trained a token or the text encoder.

        Returns:
            (P, L, C) of its P prompts; None where the base model's text encoder serves.
        """
        vectors = read_embedding(self._job.layout.adapter(name))
        has_own_encoder = model.text_encoder is not self._model.text_encoder
        if not vectors and not has_own_encoder:
            return None
        return encode_with_tokens(model, list(self._job.prompts[name].sampled), vectors)
