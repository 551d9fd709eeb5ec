"""Progress bars: one for a stage, and one below it for the group of identities at work."""

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
    """Make a progress bar with a forecast, shown by the first process of a machine only.

    Args:
        what: text in front of the bar.
        total: number of units at the end of the bar.
        unit: name of one unit, such as "image".
        done: number of units done by earlier runs, which the forecast leaves out.
        inner: whether the bar disappears at its end, for work within a group of a stage.
        counted: items to pass on and count; None to count by calls of ``update``.
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
