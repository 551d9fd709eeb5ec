"""Small ranking problems, and their metrics computed by slow loops."""

import numpy as np


def sample_problem(
    seed=0, num_query=40, num_gallery=120, identities=12, cameras=5, noise=1.2, dim=16
):
    """Sample features clustered by identity; the last identity is seen by one camera only."""
    rng = np.random.default_rng(seed)
    total = num_query + num_gallery
    pids = rng.integers(0, identities, total)
    centres = rng.normal(size=(identities, dim))
    features = (centres[pids] + noise * rng.normal(size=(total, dim))).astype(np.float32)
    camids = rng.integers(0, cameras, total)
    camids[pids == identities - 1] = 0
    return [part for values in (features, pids, camids) for part in np.split(values, [num_query])]


def slow_scores(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """Compute AP by both rules, INP and first rank of each query; None without a match.

    Ties are in the order of the gallery. Market's rule goes down the list and adds trapezoids
    between successive points of precision and recall.
    """
    found = []
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        order = sorted(range(len(row)), key=lambda index: (row[index], index))
        kept = [i for i in order if gallery_pids[i] != pid or gallery_camids[i] != camid]
        ranks = [rank for rank, i in enumerate(kept, 1) if gallery_pids[i] == pid]
        if not ranks:
            found.append(None)
            continue
        area = 0.0
        recall = 0.0
        precision = 1.0
        hits = 0
        for rank, index in enumerate(kept, 1):
            hits += gallery_pids[index] == pid
            new_recall = hits / len(ranks)
            new_precision = hits / rank
            area += (new_recall - recall) * (precision + new_precision) / 2
            recall = new_recall
            precision = new_precision
        mean = sum(number / rank for number, rank in enumerate(ranks, 1)) / len(ranks)
        found.append((mean, area, len(ranks) / ranks[-1], ranks[0]))
    return found


def arranged(query, gallery, query_pids, gallery_pids, query_camids, gallery_camids):
    """Name the six parts of a problem."""
    return {
        "query_features": query,
        "gallery_features": gallery,
        "query_pids": query_pids,
        "gallery_pids": gallery_pids,
        "query_camids": query_camids,
        "gallery_camids": gallery_camids,
    }
