"""Progress on the terminal: one bar for a stage, one below it for the group being worked on."""

from collections.abc import Iterable

from tqdm import tqdm

from fastreid_ext.ranks import read_ranks


def progress_bar(
    what: str,
    total: int,
    unit: str,
    *,
    done: int = 0,
    inner: bool = False,
    counted: Iterable | None = None,
) -> tqdm:
    """Return a bar with a forecast; of the processes of a machine the first alone shows it.

    Args:
        what: words before it.
        total: at its end.
        unit: what is counted.
        done: by earlier runs, which the forecast leaves out.
        inner: goes away when it ends, for work within a group of a stage.
        counted: what is passed on and counted; None: ``update`` counts.
    """
    is_first_here = read_ranks().local_rank == 0
    return tqdm(
        counted,
        desc=what,
        total=total,
        unit=unit,
        initial=done,
        leave=not inner,
        smoothing=0.1,
        dynamic_ncols=True,
        disable=not is_first_here,
    )
