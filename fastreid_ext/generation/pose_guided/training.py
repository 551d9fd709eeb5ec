"""Train the pose-guided generator: from Stable Diffusion, or from a generator of another stage.

A training that is stopped in any way continues from its last checkpoint, with the weights, the
average, the optimizer and the rows that it would have had.

Several GPUs: ``accelerate launch tools/pose_persons.py train ...``; each process has its share of
the rows, and the result is that of one process up to rounding.
"""

import dataclasses
import hashlib
import itertools
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from fastreid.config import CfgNode
from torch.optim import AdamW

from fastreid_ext.atomic import atomic_write, atomic_write_text, expect_writable, whole_folder
from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.bodies.condition_maps import ConditionMaps, render_requests
from fastreid_ext.checks.pose_guided import training_problems
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.diffusion.pose_guided.assemble import assemble_generator
from fastreid_ext.generation.pose_guided.average import AverageOfWeights
from fastreid_ext.generation.pose_guided.crops import Crop
from fastreid_ext.generation.pose_guided.encoded_images import (
    EncodedImages,
    encode_images,
    read_fitted,
)
from fastreid_ext.generation.pose_guided.pairs import Pairs
from fastreid_ext.generation.pose_guided.rows import batch_of, requests_of, rows_of_step
from fastreid_ext.generation.pose_guided.sample_picture import sample_picture
from fastreid_ext.generation.pose_guided.settings import TrainingSettings
from fastreid_ext.generation.pose_guided.trained_generator import (
    TrainedGenerator,
    with_zero_terminal_snr,
)
from fastreid_ext.generation.pose_guided.training_images import (
    TrainingImage,
    expect_sound_fits,
    training_images,
)
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.saved_settings import expect_same

logger = logging.getLogger(__name__)

GENERATOR = "generator"  # folder of the finished pipeline in OUTPUT_DIR
RECORD = "training.json"  # file of that folder: settings, and the identities it was trained on
_STATE = "training_state.pth"
_METRICS = "metrics.jsonl"
_REPORT_EVERY = 50
_SAMPLES = 6


def train_generator(cfg: CfgNode) -> Path:
    """Train a generator, or continue a training, and write it to ``OUTPUT_DIR/generator``.

    Args:
        cfg: configuration; ``GENERATION.POSE_GUIDED``, ``DATASETS``, ``SEED``, ``MODEL.DEVICE``
            and ``OUTPUT_DIR`` are read.

    Returns:
        Folder of the generator.

    Raises:
        FileNotFoundError: a model, a data set or its body fits are missing.
        FloatingPointError: the loss is not finite; the last checkpoint is whole.
        ValueError: fits are of other units or axes, or ``OUTPUT_DIR`` holds another training.
    """
    output = Path(cfg.OUTPUT_DIR)
    settings = TrainingSettings.from_config(cfg)
    if (output / GENERATOR).is_dir():
        _expect_finished(output / GENERATOR, settings, cfg.GENERATION.POSE_GUIDED.ITERATIONS)
        logger.info("%s is complete; nothing to train", output / GENERATOR)
        return output / GENERATOR
    if problems := training_problems(cfg):
        raise ValueError("\n".join(problems))
    expect_writable(output, is_folder=True)
    expect_sound_fits(cfg)
    images = training_images(cfg)
    pairs = Pairs(images, settings.pairs, settings.min_gap)
    accelerator = Accelerator(
        mixed_precision="bf16" if settings.dtype == "bfloat16" else "no",
        cpu=cfg.MODEL.DEVICE == "cpu",
    )
    _expect_equal_shares(settings.batch_size, accelerator.num_processes)
    pipeline = starting_generator(cfg)
    pipeline.to(accelerator.device)
    if cfg.GENERATION.POSE_GUIDED.GRADIENT_CHECKPOINTING:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.reference_unet.enable_gradient_checkpointing()
    # One process encodes, and the others wait for its lock: a barrier would end them after minutes.
    encoded = encode_images(
        output / "encoded",
        pipeline,
        images,
        size=settings.size,
        versions=settings.crops,
        smallest=settings.crop_scale,
        seed=settings.seed,
    )
    training = Training(cfg, pipeline, images, pairs, encoded, settings, accelerator)
    training.run()
    return output / GENERATOR


def starting_generator(cfg: CfgNode) -> PoseGuidedPipeline:
    """Load the generator that a training starts from, in float32."""
    generation = cfg.GENERATION
    guided = generation.POSE_GUIDED
    if guided.START:
        return PoseGuidedPipeline.from_pretrained(guided.START)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(cfg.SEED, "generator") % 2**32)
        pipeline = assemble_generator(
            generation.BASE_MODEL,
            image_encoder=guided.IMAGE_ENCODER,
            vae=generation.VAE,
            controlnet=guided.CONTROLNET,
            combine=guided.COMBINE,
            has_random_unets=guided.RANDOM_UNETS,
            download=generation.DOWNLOAD,
        )
    if guided.ZERO_SNR:
        pipeline.scheduler = with_zero_terminal_snr(pipeline.scheduler)
    return pipeline


def _expect_finished(folder: Path, settings: TrainingSettings, iterations: int) -> None:
    """Check that a finished generator is the one that this configuration describes."""
    record = json.loads((folder / RECORD).read_text())
    wanted = {"iterations": iterations, **dataclasses.asdict(settings)}
    expect_same(
        {"iterations": record["steps"], **record["settings"]},
        json.loads(json.dumps(wanted)),
        found=f"{folder} holds a finished generator of other settings",
        advice="repeat them, or choose another OUTPUT_DIR (GENERATION.POSE_GUIDED.START trains on)",
    )


def _expect_equal_shares(batch_size: int, processes: int) -> None:
    if batch_size % processes:
        raise ValueError(
            f"expected GENERATION.POSE_GUIDED.BATCH_SIZE to be a multiple of the {processes} "
            f"processes, got {batch_size}; the rows of a step are shared equally"
        )


class Training:
    """A training of a pose-guided generator, in one of its processes.

    Args:
        cfg: configuration of the run.
        pipeline: generator whose parts are trained, in place.
        images: training images with their fits.
        pairs: pairs of these images.
        encoded: latents and embeddings of their crops.
        settings: settings that a continued training must repeat.
        accelerator: processes and precision of the run.
    """

    def __init__(
        self,
        cfg: CfgNode,
        pipeline: PoseGuidedPipeline,
        images: list[TrainingImage],
        pairs: Pairs,
        encoded: EncodedImages,
        settings: TrainingSettings,
        accelerator: Accelerator,
    ) -> None:
        self._guided = cfg.GENERATION.POSE_GUIDED
        self._output = Path(cfg.OUTPUT_DIR)
        self._pipeline = pipeline
        self._images = images
        self._pairs = pairs
        self._encoded = encoded
        self._settings = settings
        self._accelerator = accelerator
        self._module = TrainedGenerator(pipeline, min_snr=settings.min_snr)
        self._trained = [p for p in self._module.parameters() if p.requires_grad]
        self._average = AverageOfWeights(self._module, settings.ema)
        optimizer = AdamW(self._trained, settings.base_lr, weight_decay=settings.weight_decay)
        self._start = self._load(optimizer)
        self._model, self._optimizer = accelerator.prepare(self._module, optimizer)

    def run(self) -> None:
        """Train to the last step and write the generator."""
        began = time.perf_counter()
        last = self._guided.ITERATIONS
        losses = []
        maps = self._conditions(last)
        self._module.train()
        for step in range(self._start, last):
            losses.append(self._step(step, maps))
            done = step + 1
            if done % _REPORT_EVERY == 0 or done == last:
                self._report(done, losses, began)
                losses = []
            if done % self._guided.CHECKPOINT_PERIOD == 0 and done < last:
                self._save(done)
            if done % self._guided.SAMPLE_PERIOD == 0 or done == last:
                self._plot_samples(done)
        self._finish(last)

    def _step(self, step: int, maps: Iterator[ConditionMaps]) -> float:
        rows = self._rows(step)
        conditions = [maps_of_row.stacked() for maps_of_row in itertools.islice(maps, len(rows))]
        batch = batch_of(
            rows, conditions, self._encoded, self._settings, len(self._module.schedule)
        )
        with self._accelerator.autocast():
            loss = self._model(batch)
        mean = float(self._accelerator.gather(loss.detach().float().reshape(1)).mean())
        self._expect_finite("loss", mean, step)
        self._accelerator.backward(loss)
        largest = self._settings.max_grad_norm or math.inf
        norm = float(self._accelerator.clip_grad_norm_(self._trained, largest))
        self._expect_finite("gradient", norm, step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._average.update(step)
        return mean

    def _expect_finite(self, what: str, value: float, step: int) -> None:
        """Check a number before the weights, and so the next checkpoint, depend on it."""
        if math.isfinite(value):
            return
        file = self._output / _STATE
        kept = f"the checkpoint in {file} is sound" if file.exists() else "there is no checkpoint"
        raise FloatingPointError(
            f"the {what} of step {step + 1} is {value}; {kept}. Lower "
            "GENERATION.POSE_GUIDED.BASE_LR in another OUTPUT_DIR, or set GENERATION.DTYPE float32 "
            "there"
        )

    def _rows(self, step: int) -> list:
        return rows_of_step(
            step,
            self._settings,
            self._pairs,
            rank=self._accelerator.process_index,
            processes=self._accelerator.num_processes,
        )

    def _conditions(self, last: int) -> Iterator[ConditionMaps]:
        """Render the condition maps of all rows that are left, a little ahead of the steps."""
        rows = (row for step in range(self._start, last) for row in self._rows(step))
        requests = requests_of(rows, self._images, self._settings)
        body = self._guided.BODY_MODEL or None
        return render_requests(requests, body, workers=self._guided.WORKERS)

    def _report(self, done: int, losses: list[float], began: float) -> None:
        if not self._accelerator.is_main_process:
            return
        seconds = time.perf_counter() - began
        left = seconds / (done - self._start) * (self._guided.ITERATIONS - done)
        loss = float(np.mean(losses))
        logger.info(
            "step %d of %d, loss %.4f, %.0f s left", done, self._guided.ITERATIONS, loss, left
        )
        with (self._output / _METRICS).open("a") as file:
            file.write(
                json.dumps({"step": done, "loss": loss, "seconds": round(seconds, 1)}) + "\n"
            )

    def _save(self, done: int) -> None:
        if not self._accelerator.is_main_process:
            return
        state = {
            "step": done,
            "settings": json.dumps(dataclasses.asdict(self._settings)),
            "model": self._module.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic_write(self._output / _STATE) as file:
            torch.save(state, file)

    def _load(self, optimizer: AdamW) -> int:
        """Take the state of the last checkpoint, if there is one, and return its steps."""
        file = self._output / _STATE
        if not file.exists():
            (self._output / _METRICS).unlink(missing_ok=True)
            return 0
        state = torch.load(file, map_location="cpu", weights_only=True)
        expect_same(
            json.loads(state["settings"]),
            json.loads(json.dumps(dataclasses.asdict(self._settings))),
            found=f"expected the training in {self._output} to have the settings of this one",
            advice="repeat its settings, or choose another OUTPUT_DIR",
        )
        self._module.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        self._trim_metrics(state["step"])
        logger.info("continuing after step %d", state["step"])
        return state["step"]

    def _trim_metrics(self, done: int) -> None:
        """Remove the records of steps that are done again."""
        file = self._output / _METRICS
        if self._accelerator.is_main_process and file.exists():
            lines = file.read_text().splitlines(keepends=True)
            atomic_write_text(file, "".join(x for x in lines if json.loads(x)["step"] <= done))

    def _plot_samples(self, done: int) -> None:
        if not self._accelerator.is_main_process:
            return
        rng = np.random.default_rng(seed_of(self._settings.seed, "samples"))
        chosen = [self._pairs.sample(rng) for _ in range(_SAMPLES)]
        size = self._settings.size
        pixels = [
            [Crop().pixels(read_fitted(self._images[place]), *size) for place in pair]
            for pair in chosen
        ]
        body = load_body(self._guided.BODY_MODEL or None)
        maps = [
            Crop().request(self._images[target], *size).render(body).stacked()
            for _, target in chosen
        ]
        self._module.eval()
        with self._average.in_place(), self._accelerator.autocast():
            sample_picture(
                self._pipeline,
                np.stack([reference for reference, _ in pixels]),
                np.stack(maps),
                np.stack([target for _, target in pixels]),
                self._output / "samples" / f"{done:06d}.png",
            )
        self._module.train()

    def _finish(self, last: int) -> None:
        self._accelerator.wait_for_everyone()
        if not self._accelerator.is_main_process:
            return
        identities: dict[str, list[int]] = {}
        for data_set, pid in sorted({image.identity for image in self._images}):
            identities.setdefault(data_set, []).append(pid)
        record = {
            "steps": last,
            "settings": dataclasses.asdict(self._settings),
            "images": len(self._images),
            "identities": identities,
            "identities_sha256": hashlib.sha256(json.dumps(identities).encode()).hexdigest(),
        }
        self._module.eval()
        target = self._output / GENERATOR
        with self._average.in_place(), whole_folder(target, self._output) as partial:
            self._pipeline.save_pretrained(partial)
            (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        (self._output / _STATE).unlink(missing_ok=True)
        logger.info("%s: trained on %d images", target, len(self._images))
