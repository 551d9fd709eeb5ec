"""The Jaccard distances of clustering written densely, as a check: loops over images."""

import numpy as np


def dense_jaccard(features, k1=30, k2=6):
    """Compute all (N, N) distances in float64, step by step as METHODS describe them."""
    features = np.asarray(features, np.float64)
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    count = len(features)
    products = features @ features.T
    # The order is that of float32 distances, the image itself first.
    keys = np.maximum(1 - products.astype(np.float32), 0)
    np.fill_diagonal(keys, -1)
    rank = np.argsort(keys, axis=1, kind="stable")[:, :k1]

    def mutual(number):
        lists = rank[:, :number]
        return [{int(j) for j in lists[i] if i in lists[j]} for i in range(count)]

    whole = mutual(k1)
    half = mutual(min(int(np.around(k1 / 2)) + 1, k1))
    weights = np.zeros((count, count))
    for i in range(count):
        expanded = set(whole[i])
        for candidate in whole[i]:
            if len(half[candidate] & whole[i]) > 2 / 3 * len(half[candidate]):
                expanded |= half[candidate]
        members = sorted(expanded)
        exponents = np.exp(-(2 - 2 * np.minimum(products[i, members], 1)))
        weights[i, members] = exponents / exponents.sum()
    if k2 > 1:
        weights = np.stack([weights[rank[i, :k2]].mean(axis=0) for i in range(count)])
    distances = np.empty((count, count))
    for i in range(count):
        shared = np.minimum(weights[i], weights).sum(axis=1)
        distances[i] = 1 - shared / (2 - shared)
    return np.maximum(distances, 0), weights
