"""Ranking of the positives of each query, counted with tensor operations; see :mod:`ranking`.

Gives the numbers of :mod:`.ranking_numba`, ties included, for distances on a GPU, without moving
them. Works on the CPU too, slower.

Letters: R rows (queries) of one chunk, G gallery images, M maximum number of gallery images of one
identity, which are matches (positives) or junk.
"""

import torch
from torch import Tensor

from fastreid_ext.neighbours.ordered_keys import ordered_keys

_LAST_KEY = torch.iinfo(torch.int64).max


def score_tensors(
    distances: Tensor,
    same_pid: Tensor,
    exists: Tensor,
    is_match: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute the scores of each row; rows without a match are NaN.

    Args:
        distances: (R, G) float32 distances of the queries to the gallery.
        same_pid: (R, M) gallery positions of the query's identity, padded to M.
        exists: (R, M) bool mask, False for padding in ``same_pid``.
        is_match: (R, M) bool mask of images seen by another camera; the others are junk.

    Returns:
        (R, 3) float64 AP by fastreid's rule, AP by Market's rule and INP, and (R,) the rank of the
        first match, 0 without one.
    """
    keys = ordered_keys(distances)
    same_keys = keys.gather(1, same_pid)
    matches = same_keys.masked_fill(~(exists & is_match), _LAST_KEY).sort(dim=1).values
    counts = _counts_before(matches, keys)
    is_junk = exists & ~is_match
    junk_places = torch.searchsorted(matches, same_keys)
    counts.scatter_add_(1, junk_places, -is_junk.long())
    ranks = counts[:, :-1].cumsum(dim=1)
    return _scores(ranks, (exists & is_match).sum(dim=1))


def _counts_before(matches: Tensor, keys: Tensor) -> Tensor:
    """Count (R, M + 1) the images at each place 0..M among the sorted matches."""
    rows = len(matches)
    columns = matches.shape[1] + 1
    places = torch.searchsorted(matches, keys)
    places += torch.arange(0, rows * columns, columns, device=keys.device)[:, None]
    return torch.bincount(places.flatten(), minlength=rows * columns).view(rows, columns)


def _scores(ranks: Tensor, num_matches: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    is_rank = found <= num_matches[:, None]  # the others pad a row
    ranks = ranks.clamp(min=1).double()
    found = found.double()
    at_match = found / ranks
    # The precision just before the match; 1 before the first image.
    before = torch.where(ranks > 1, (found - 1) / (ranks - 1), 1.0)
    mean = [
        (values * is_rank).sum(dim=1) / num_matches
        for values in (at_match, (before + at_match) / 2)
    ]
    last = ranks.gather(1, (num_matches - 1).clamp(min=0)[:, None]).squeeze(1)
    has_match = num_matches > 0
    inverse_penalty = torch.where(has_match, num_matches / last, torch.nan)
    first = torch.where(has_match, ranks[:, 0].long(), 0)
    return torch.stack([*mean, inverse_penalty], dim=1), first
