"""One feature for several images of an identity: those of a tracklet, or of a folder."""

import re

import numpy as np

from fastreid_ext.deploy.features_file import ImageFeatures


def pool_features(images: ImageFeatures, pattern: str) -> ImageFeatures:
    r"""Average the features of the images whose paths agree in what a pattern captures.

    Features are normalised before they are averaged, so that every image counts alike.

    Args:
        images: features (N, D) of N images.
        pattern: regular expression with at least one group, searched in each path; "(.*)/" captures
            the folder, "(\d+_c\d+s\d+)_" person, camera and sequence of Market-1501's names.

    Returns:
        Features (M, D) of length at most 1 in the order of the first images of the M groups; the
        paths are what was captured, joined by "/".

    Raises:
        ValueError: no regular expression, one without a group, or one that a path does not match.

    Example:
        >>> features = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], np.float32)
        >>> images = ImageFeatures(features, ["a/1.jpg", "a/2.jpg", "b/1.jpg"], {})
        >>> pool_features(images, "(.*)/").paths
        ['a', 'b']
    """
    expression = _compiled(pattern)
    names = [_captured(expression, path) for path in images.paths]
    rows = {name: row for row, name in enumerate(dict.fromkeys(names))}
    group = np.array([rows[name] for name in names])
    lengths = np.linalg.norm(images.features, axis=1, keepdims=True)
    unit = images.features / np.maximum(lengths, np.finfo(np.float32).tiny)
    sums = np.zeros((len(rows), images.features.shape[1]), np.float64)
    np.add.at(sums, group, unit)
    counts = np.bincount(group, minlength=len(rows))
    means = (sums / counts[:, None]).astype(np.float32)
    metadata = {**images.metadata, "pooled_by": pattern}
    return ImageFeatures(means, list(rows), metadata, images.unreadable)


def _compiled(pattern: str) -> re.Pattern:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from error
    if not expression.groups:
        raise ValueError(
            f"expected a regular expression with a group in parentheses, such as '(.*)/' for the "
            f"folder, got {pattern!r}"
        )
    return expression


def _captured(expression: re.Pattern, path: str) -> str:
    found = expression.search(path)
    if found is None:
        raise ValueError(
            f"{path} does not match {expression.pattern!r}, by which features are to be pooled"
        )
    return "/".join(part or "" for part in found.groups())
