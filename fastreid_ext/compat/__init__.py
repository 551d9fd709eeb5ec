"""Repairs that let fastreid 1.4.0 run on current Python, torch, torchvision and numpy.

fastreid was written for torch 1.13 and Python 3.8. Its files are not edited: each function repairs
one thing from outside, can be called twice, and does nothing where fastreid has meanwhile repaired
it. To drop a repair, delete its function and its line in :func:`prepare` or :func:`repair`;
``tests/test_host_contract.py`` tells when that is safe.

``prepare`` runs before the first fastreid import, ``repair`` after it, ``build_backbones_with``
last. ``fastreid_ext/__init__.py`` calls all three. :mod:`fastreid_ext.compat.imagecorruptions`
repairs the reference of our corruptions for tests and benchmarks.
"""

from fastreid_ext.compat.after_import import (
    TESTED_FASTREID,
    accept_old_affine_arguments,
    build_backbones_with,
    evaluate_without_compiler,
    fastreid_version,
    find_regnet_files,
    freeze_whole_names,
    keep_flat_gradients,
    load_without_cuda,
    normalise_out_of_place,
    repair,
)
from fastreid_ext.compat.before_import import (
    hush_known_warnings,
    prepare,
    provide_collections_mapping,
    provide_torch_six,
    provide_torchvision_ops,
    require_fastreid,
)
from fastreid_ext.compat.device_waits import (
    check_labels_on_the_device,
    count_queue_on_the_device,
    keep_scalars_on_the_device,
)
from fastreid_ext.compat.losses import (
    compute_losses_in_full_precision,
    compute_margins_in_full_precision,
)
from fastreid_ext.compat.optimizers import clip_all_gradients_together, honour_no_weight_decay
from fastreid_ext.compat.sync_batch_norm import sync_batch_norm_on_cpu

__all__ = [
    "TESTED_FASTREID",
    "accept_old_affine_arguments",
    "build_backbones_with",
    "check_labels_on_the_device",
    "clip_all_gradients_together",
    "compute_losses_in_full_precision",
    "compute_margins_in_full_precision",
    "count_queue_on_the_device",
    "evaluate_without_compiler",
    "fastreid_version",
    "find_regnet_files",
    "freeze_whole_names",
    "honour_no_weight_decay",
    "hush_known_warnings",
    "keep_flat_gradients",
    "keep_scalars_on_the_device",
    "load_without_cuda",
    "normalise_out_of_place",
    "prepare",
    "provide_collections_mapping",
    "provide_torch_six",
    "provide_torchvision_ops",
    "repair",
    "require_fastreid",
    "sync_batch_norm_on_cpu",
]
