"""All keys that fastreid_ext adds to fastreid's configuration, one file per section of the tree.

Automatic values
    The empty value of a key's type leaves the choice to fastreid_ext: ``0`` for a number, ``""``
    for a text, ``[]`` for a list. ``-1`` stands in where 0 is a value of its own (``SEED``,
    ``SEMANTIC_WEIGHT``) or where published code writes it (``INPUT.AUGMIX.DEPTH``). The comment of
    a key says what is chosen. Limits named ``MAX_...`` and ``MIN_...`` are off at 0.

Values are chosen when the file is loaded (:mod:`fastreid_ext.checks.automatic`), or, where they
depend on data, when a run begins.
"""

from fastreid.config import CfgNode

from fastreid_ext.config.dataloader import add_dataloader_keys
from fastreid_ext.config.datasets import add_datasets_keys
from fastreid_ext.config.generation import add_generation_keys
from fastreid_ext.config.input import add_input_keys
from fastreid_ext.config.model import add_model_keys
from fastreid_ext.config.solver import add_solver_keys
from fastreid_ext.config.test import add_test_keys
from fastreid_ext.config.unsupervised import add_unsupervised_keys


def add_fastreid_ext_config(cfg: CfgNode) -> None:
    """Add every key of fastreid_ext to ``cfg`` with its default, in place.

    ``import fastreid_ext`` does so to the defaults that ``get_cfg()`` copies.
    """
    # Seed of all random numbers (weights, sampling, augmentation), at least 0: two CPU runs are
    # bit-identical, whatever the number of workers. -1: sampled at each start and kept in the
    # checkpoint, so that resuming is exact either way.
    cfg.SEED = -1
    add_model_keys(cfg.MODEL)
    add_input_keys(cfg.INPUT)
    add_datasets_keys(cfg.DATASETS)
    add_dataloader_keys(cfg.DATALOADER)
    add_solver_keys(cfg.SOLVER)
    add_test_keys(cfg.TEST)
    add_unsupervised_keys(cfg)
    add_generation_keys(cfg)
