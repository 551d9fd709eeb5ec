"""The one trainer: fastreid's ``DefaultTrainer`` on CPU and CUDA, in one process or many.

Every method of the package trains with this class; what differs between methods lies in the
meta-architecture, the losses and the data.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, hooks
from fastreid.utils import comm
from fastreid.utils.events import EventWriter
from fastreid.utils.precision_bn import get_bn_modules
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.data.domain_batches import has_meta_half
from fastreid_ext.engine.buffers import SharedBuffers
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.evaluation_loop import evaluate_test_sets
from fastreid_ext.engine.hooks import (
    GradientCheck,
    PeriodicCheckpoints,
    PeriodicEvaluation,
    PeriodicWriting,
    save_state_of_hooks,
)
from fastreid_ext.engine.launch import wrap_for_processes
from fastreid_ext.engine.meta_step import step_kind
from fastreid_ext.engine.method_hooks import method_hooks
from fastreid_ext.engine.metric_files import open_writers, prepare_folder
from fastreid_ext.engine.modes import modes_kept
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.results import plain
from fastreid_ext.engine.resume import FreezeCounter, RunIdentity, restore_random_state
from fastreid_ext.engine.resumed_configuration import (
    recorded_run,
    refuse_other_labels,
    resumed_configuration,
)
from fastreid_ext.engine.schedule import (
    build_lr_scheduler,
    epochs_before_decay,
    follow_new_length,
    iterations_per_epoch,
    with_warmup,
)
from fastreid_ext.engine.setup import with_classes, with_room_for_clusters
from fastreid_ext.engine.step import TrainingStep, autocast_dtype
from fastreid_ext.evaluation.evaluator import CountingEvaluator
from fastreid_ext.evaluation.visible_infrared.evaluator import evaluator_of
from fastreid_ext.modeling.batch_instance_norm import GATES
from fastreid_ext.modeling.diffusion_branch import naming_missing_packages
from fastreid_ext.modeling.training_model import build_training_model
from fastreid_ext.processes import meet

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Build everything a configuration asks for, and train.

    Call :meth:`resume_or_load` before :meth:`train`.

    Example::

        trainer = Trainer(load_config("configs/demo.yml"))
        trainer.resume_or_load(resume=False)
        trainer.train()
    """

    build_lr_scheduler = staticmethod(build_lr_scheduler)

    def __init__(self, cfg: CfgNode) -> None:
        """Build loader, model, optimizer and hooks from a checked configuration."""
        # fastreid's own constructor fixes the step, DDP's device_ids and the checkpointer.
        super(DefaultTrainer, self).__init__()
        data_loader = self.build_train_loader(cfg)
        if cfg.MODEL.DIFFUSION.ENABLED and cfg.MODEL.DIFFUSION.LATENT_CACHE:
            # Only here, because it imports diffusers, which takes seconds.
            with naming_missing_packages():
                from fastreid_ext.engine.latent_cache import give_latents
            give_latents(cfg, data_loader.dataset)
        meet()  # a machine may have packed or encoded its images, for hours
        dataset = data_loader.dataset
        self.iters_per_epoch = iterations_per_epoch(cfg, len(dataset), dataset.num_classes)
        cfg = with_warmup(cfg, self.iters_per_epoch)
        if cfg.UNSUPERVISED.ENABLED:
            source = dataset.source_labels
            images = len(dataset) - len(source)
            self.cfg = cfg = with_room_for_clusters(cfg, images, len(np.unique(source)))
        else:
            self.cfg = cfg = with_classes(cfg, dataset.num_classes)
        model = self.build_model(cfg)
        optimizer, param_wrapper = self.build_optimizer(cfg, model)
        wrapped = wrap_for_processes(model, find_unused=cfg.MODEL.FIND_UNUSED_PARAMETERS)
        self._trainer = self.build_step(wrapped, data_loader, optimizer, param_wrapper)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer, self.iters_per_epoch)
        self.checkpointer = self._build_checkpointer()
        self.start_epoch = 0
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.warmup_iters = cfg.SOLVER.WARMUP_ITERS  # read by fastreid's LRScheduler hook
        self.delay_epochs = epochs_before_decay(cfg, self.iters_per_epoch)
        self.step_applied = True
        self._identity = RunIdentity.of(cfg, self.iters_per_epoch, dataset)
        self._random_state: Mapping[str, Any] | None = None
        self._evaluation_pending = False
        self._last_eval_results: dict[str, Any] = {}
        self.register_hooks(self.build_hooks())
        save_state_of_hooks(self._hooks, self.checkpointer.checkpointables)

    def train(self) -> dict[str, Any]:
        """Train from the current epoch to the last.

        Returns:
            fastreid's results of the last evaluation on the main process; {} elsewhere and where
            nothing is evaluated.

        Raises:
            FloatingPointError: too many losses were not finite.
            OSError: a checkpoint could not be written; earlier ones are whole.
            RuntimeError: the first steps show that nothing is learned.
        """
        if self.start_epoch >= self.max_epoch and not self._evaluation_pending:
            done = f"{self.start_epoch} epochs are done, SOLVER.MAX_EPOCH is {self.max_epoch}"
            logger.warning("nothing to train: %s", done)
            return self.test(self.cfg, self.model) if self._evaluates() else {}
        try:
            super(DefaultTrainer, self).train(
                self.start_epoch, self.max_epoch, self.iters_per_epoch
            )
        except KeyboardInterrupt:
            logger.warning(
                "interrupted at iteration %d; continue with --resume from %s",
                self.iter,
                self.checkpointer.get_checkpoint_file() or "the beginning (no checkpoint yet)",
            )
            raise
        return self._last_eval_results

    def before_train(self) -> None:
        """Open files and start the loader where the run stands."""
        if comm.is_main_process():
            prepare_folder(Path(self.cfg.OUTPUT_DIR), self.start_iter)
        super().before_train()
        self.data_loader.start_at(self.start_iter)
        self._trainer.start()
        if self._random_state is not None:
            # Last: opening files and starting the loader take random numbers.
            restore_random_state(self._random_state)
        if self._evaluation_pending:
            self._end_last_epoch()

    def _end_last_epoch(self) -> None:
        """Evaluate the epoch behind the checkpoint, in whose evaluation the run was interrupted."""
        self.epoch = self.start_epoch - 1
        self.storage.epoch = self.epoch
        self.storage.iter = self.start_iter - 1
        logger.info("epoch %d was not evaluated: that comes first", self.epoch)
        for hook in self._epoch_ends:
            hook.after_epoch()
        self._evaluation_pending = False

    def after_train(self) -> None:
        """Close files and end the loader, also after an error."""
        super().after_train()
        self._trainer.stop()

    def relabel(self, labels: Sequence[int] | NDArray[np.integer], *, of: str = "") -> None:
        """Give the training images other identities from the next step on.

        For hooks between epochs; the labels are in the checkpoint. Loader workers are restarted.

        Args:
            labels: (N,) identities counted from 0, equal on all processes; -1 leaves an image out.
            of: name of the loader, where there are several
                (:class:`~fastreid_ext.data.joined.JoinedLoaders`).

        Raises:
            ValueError: the number of labels is wrong, or the sampler cannot fill its batches.
        """
        loader = self.data_loader.loaders[of] if of else self.data_loader
        self._trainer.stop()
        loader.relabel(labels, self.iter)
        self.data_loader.start_at(self.iter)
        self._trainer.start()

    def run_step(self) -> None:
        """Run one step; see :class:`fastreid_ext.engine.step.TrainingStep`."""
        self.step_applied = self._trainer.run(self.iter)

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint, or load ``MODEL.WEIGHTS`` into a new run.

        Args:
            resume: continue if there is a checkpoint in ``OUTPUT_DIR``; else start a new run.
        """
        if not (resume and self.checkpointer.has_checkpoint()):
            if resume:
                logger.warning("no checkpoint in %s: a new run begins", self.cfg.OUTPUT_DIR)
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
            return
        recorded = recorded_run(Path(self.cfg.OUTPUT_DIR))
        refuse_other_labels(recorded, self.cfg, self._identity.labels)
        self.cfg = resumed_configuration(recorded.get("config"), self.cfg)
        extra = self.checkpointer.resume()
        self._follow_new_length()
        self.start_epoch = extra.get("epoch", -1) + 1
        self._checkpoints.best_metric = extra.get("best_metric", -1.0)
        self._evaluation_pending = extra.get("evaluation_pending", False) and self._evaluates()
        self._trainer.non_finite.skipped = extra.get("skipped_steps", 0)
        self._identity.warn_about_differences(extra.get("run"))
        self.data_loader.load_state_dict(extra.get("loader", {}))
        states = extra.get("random_states", [])
        if comm.get_rank() < len(states):
            self._random_state = states[comm.get_rank()]

    def _follow_new_length(self) -> None:
        epochs = self.max_epoch - self.delay_epochs
        if follow_new_length(self.scheduler["lr_sched"], epochs):
            logger.warning(
                "the learning rates from here on are those of a cosine over %d epochs, the length "
                "that SOLVER.MAX_EPOCH %d gives it; epochs that are done had those of another",
                epochs,
                self.max_epoch,
            )

    def state(self) -> dict[str, Any]:
        """Return the plain values of a checkpoint: where the run stands and which run it is."""
        return {
            "epoch": self.epoch,
            "iteration": self.iter,
            "skipped_steps": self._trainer.non_finite.skipped,
            "loader": self.data_loader.state_dict(),
            "run": dataclasses.asdict(self._identity),
            "config": plain(self.cfg),
        }

    def build_hooks(self) -> list[hooks.HookBase]:
        """Return fastreid's hooks for time, learning rate, precise BN and freezing, and ours.

        A method adds its own in :meth:`build_method_hooks`.
        """
        cfg = self.cfg
        evaluation_period = cfg.TEST.EVAL_PERIOD if self._evaluates() else 0
        self._checkpoints = PeriodicCheckpoints(
            self.checkpointer,
            cfg.SOLVER.CHECKPOINT_PERIOD,
            evaluation_period,
            self._metric_name(),
        )
        built = [hooks.IterationTimer(), hooks.LRScheduler(self.optimizer, self.scheduler)]
        built.append(GradientCheck(cfg.SOLVER.GRADIENT_CHECK_STEPS, cfg.SOLVER.FREEZE_ITERS))
        if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model):
            built.append(self._precise_bn())
        if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
            built.append(
                hooks.LayerFreeze(self.model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS)
            )
        built.append(SharedBuffers())
        built += self.build_method_hooks()
        before_evaluation = self._checkpoints.before_evaluation
        self._epoch_ends = [
            PeriodicEvaluation(evaluation_period, self._evaluate, before_evaluation)
        ]
        if comm.is_main_process():
            writing = PeriodicWriting(self.build_writers, cfg.SOLVER.LOG_PERIOD)
            self._epoch_ends.append(writing)
        # After the writers: metrics that a crash leaves behind a checkpoint are trimmed on resume.
        self._epoch_ends.append(self._checkpoints)
        return [*built, *self._epoch_ends]

    def build_method_hooks(self) -> list[hooks.HookBase]:
        """Return the hooks of the method, which run before evaluation, metrics and checkpoints.

        :func:`~fastreid_ext.engine.method_hooks.method_hooks` lists them. A project overrides this
        and adds its own.

        A hook with ``state_dict`` and ``load_state_dict`` is in the checkpoint, under the key
        ``checkpoint_name`` that it must have. Its state must be equal on all processes, and made
        of what ``torch.load(weights_only=True)`` reads: tensors, numbers, strings, lists, dicts.
        """
        return method_hooks(self.cfg, getattr(self.model, "module", self.model))

    def build_writers(self) -> list[EventWriter]:
        """Return writers for the console, ``metrics.json`` and TensorBoard."""
        return open_writers(Path(self.cfg.OUTPUT_DIR), self.start_iter, self.max_iter)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model and log its size, where fastreid logs all its layers."""
        model = build_training_model(cfg)
        counts = [p.numel() for p in model.parameters() if p.requires_grad]
        logger.info("%s with %.2f M parameters to train", type(model).__name__, sum(counts) / 1e6)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[Optimizer, Any]:
        """Return the optimizer and what holds its parameters, see :func:`build_optimizer`."""
        without = (GATES,) if has_meta_half(cfg) else ()
        return build_optimizer(cfg, model, without=without)

    def build_step(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: Optimizer,
        param_wrapper: Any,
        *,
        kind: Callable[..., TrainingStep] | None = None,
    ) -> TrainingStep:
        """Return the training step: MetaBIN's or the usual one.

        A project with a step of another kind overrides this, and calls it with its class as
        ``kind``.
        """
        if kind is None:
            kind = step_kind(self.cfg, self.iters_per_epoch)
        return kind(
            model,
            data_loader,
            optimizer,
            param_wrapper,
            autocast_dtype=autocast_dtype(self.cfg),
            max_skipped=self.cfg.SOLVER.NON_FINITE.MAX_SKIPPED,
        )

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Return the endless, resumable loader of :mod:`fastreid_ext.data`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> tuple[Any, int]:
        """Return the loader of a test set and its number of queries."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
    ) -> tuple[Any, CountingEvaluator]:
        """Return loader and evaluator of a test set."""
        data_loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return data_loader, evaluator_of(cfg, dataset_name, num_query, output_dir)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Evaluate as fastreid does, leaving every module in the mode it was in.

        fastreid puts the whole model back into training mode, frozen layers included.
        """
        with modes_kept(model):
            return evaluate_test_sets(cfg, model, cls.build_evaluator)

    def _evaluate(self) -> dict[str, Any]:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def _evaluates(self) -> bool:
        return self.cfg.TEST.EVAL_PERIOD > 0 and len(self.cfg.DATASETS.TESTS) > 0

    def _metric_name(self) -> str:
        tests = self.cfg.DATASETS.TESTS
        return f"{tests[0]}/metric" if len(set(tests)) > 1 else "metric"

    def _build_checkpointer(self) -> AtomicCheckpointer:
        items = {**self._trainer.checkpointables(), **self.scheduler}
        if FreezeCounter.exists_in(self.optimizer):
            items["freeze_counter"] = FreezeCounter(self.optimizer)
        return AtomicCheckpointer(
            self.model,
            self.cfg.OUTPUT_DIR,
            min_matched=self.cfg.MODEL.MIN_WEIGHTS_MATCHED,
            save_to_disk=comm.is_main_process(),
            **items,
        )

    def _precise_bn(self) -> hooks.PreciseBN:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.DATASETS.NAMES = (cfg.TEST.PRECISE_BN.DATASET,)
        return hooks.PreciseBN(
            self.model, self.build_train_loader(cfg), cfg.TEST.PRECISE_BN.NUM_ITER
        )
