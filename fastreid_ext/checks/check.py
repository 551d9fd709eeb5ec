"""Find mistakes in a configuration before any work is done.

fastreid looks names up late (or, for losses, ignores those it does not know) and reads many keys in
few configurations only, so a typing error costs a run.
"""

import logging

from fastreid.config import CfgNode

from fastreid_ext.checks.architectures import architecture_problems
from fastreid_ext.checks.dataloader import dataloader_problems
from fastreid_ext.checks.datasets import datasets_problems
from fastreid_ext.checks.domains import domain_problems
from fastreid_ext.checks.generalisation import generalisation_problems
from fastreid_ext.checks.generation import generation_problems
from fastreid_ext.checks.input import input_problems
from fastreid_ext.checks.model import model_problems
from fastreid_ext.checks.solver import solver_problems
from fastreid_ext.checks.table import (
    TABLE,
    describe_unread,
    unread_keys,
    unread_problems,
    value_problems,
)
from fastreid_ext.checks.test import evaluation_problems
from fastreid_ext.checks.unsupervised import unsupervised_problems
from fastreid_ext.config.load import FROM_CHECKPOINT, Origin

logger = logging.getLogger(__name__)


def check_config(cfg: CfgNode, origin: Origin | None = None) -> None:
    """Refuse a configuration with mistakes; list all of them, each with its remedy.

    Checks values (names with "did you mean"), keys that were set and are not read, contradictions
    between keys, and missing weight files. Data is checked later, by the preflight of
    ``fastreid_ext.data``.

    Args:
        cfg: configuration as it was read, with automatic values filled in.
        origin: files and command line that the configuration comes from; None = unknown, and no
            key counts as set.

    Raises:
        ValueError: the configuration has mistakes.
    """
    named = origin.named if origin else frozenset()
    problems = value_problems(cfg)
    problems += [*architecture_problems(cfg), *model_problems(cfg), *input_problems(cfg)]
    problems += [*datasets_problems(cfg), *dataloader_problems(cfg)]
    problems += [*solver_problems(cfg, named), *evaluation_problems(cfg, named)]
    problems += [*generation_problems(cfg), *unsupervised_problems(cfg)]
    problems += [*domain_problems(cfg), *generalisation_problems(cfg)]
    if origin:
        problems += unread_problems(cfg, _set_by_the_user(cfg, origin))
    if problems:
        raise ValueError("the configuration has mistakes:\n  - " + "\n  - ".join(problems))


def log_unread_keys(cfg: CfgNode) -> None:
    """Log the keys that differ from their defaults and are not read.

    ``_BASE_`` files set keys for the recipes above them, so this is information, but for keys
    without which a recipe is another method.
    """
    unread = unread_keys(cfg)
    for key in unread:
        if TABLE[key].is_part_of_the_method:
            logger.warning(
                "%s, so this is not the method of the recipe; %s, or set it to its default to say "
                "that this is meant",
                describe_unread(cfg, key),
                TABLE[key].read.instead(cfg),
            )
    quiet = [key for key in unread if not TABLE[key].is_part_of_the_method]
    if quiet:
        logger.info("set, but not read in this configuration: %s", ", ".join(quiet))


def _set_by_the_user(cfg: CfgNode, origin: Origin) -> set[str]:
    """Collect the keys whose lack of effect is a mistake of the user.

    These are the keys of the command line, and those of the file that are unread without the
    command line too. Keys of pre-trained weights, which tools switch off for a checkpoint, do not
    count on the command line.
    """
    dead = set(unread_keys(origin.files))
    command = set(origin.command)
    if FROM_CHECKPOINT[0] in command:
        trained = cfg.clone()
        trained.defrost()
        trained.MODEL.BACKBONE.PRETRAIN = True
        command &= set(unread_keys(trained))
    return command | (origin.leaf & dead)
