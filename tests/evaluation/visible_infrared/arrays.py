"""Call a metric with plain arrays."""

from fastreid_ext.evaluation.visible_infrared import LabelledFeatures


def of_arrays(metrics, *arrays, **options):
    """Evaluate features, identities and cameras of the queries, and of the gallery."""
    query = LabelledFeatures(*arrays[:3])
    return metrics(query, LabelledFeatures(*arrays[3:6]), *arrays[6:], **options)
