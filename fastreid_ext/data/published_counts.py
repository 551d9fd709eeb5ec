"""Compare data sets of generalisation papers, all images of each, with the published counts.

The counts follow from the sets' own papers: training, query and gallery images together, without
the background persons 0 and -1 of Market-1501, with the persons of DukeMTMC that its gallery alone
shows, all five camera pairs of CUHK02, and the crops of CUHK-SYSU that its annotation names.
"""

from collections.abc import Mapping

from fastreid.config import CfgNode

from fastreid_ext.data.configured_sets import TrainingItems

# Images and identities by registered name, with DATASETS.COMBINEALL.
ALL_IMAGES: Mapping[str, tuple[int, int]] = {
    "CUHK02": (7_264, 1_816),
    "CUHK03Detected": (14_097, 1_467),
    "CUHK03Labeled": (14_096, 1_467),
    "Market1501": (29_419, 1_501),
    "DukeMTMC": (36_411, 1_812),
    "cuhkSYSU": (34_574, 11_934),
}


def count_warnings(cfg: CfgNode, training: TrainingItems) -> list[str]:
    """List the sets whose images and identities are not as many as published.

    Args:
        cfg: configuration; only ``DATASETS.COMBINEALL`` without a subset is compared.
        training: training images of the configuration.
    """
    if not cfg.DATASETS.COMBINEALL:
        return []
    warnings = []
    for name, own in training.by_set().items():
        found = (len(own), len(own.dense_pids()[1]))
        wanted = ALL_IMAGES.get(name, found)
        if found != wanted:
            warnings.append(
                f"{name} has {found[0]:,} images of {found[1]:,} identities, all of them together, "
                f"but published results are of {wanted[0]:,} and {wanted[1]:,}; compare the folder "
                "with docs/datasets.md before you compare results"
            )
    return warnings
