"""A trained model elsewhere: features of any images, and ONNX."""

from fastreid_ext.deploy.feature_extractor import FeatureExtractor
from fastreid_ext.deploy.features_file import ImageFeatures, read_features, write_features

__all__ = ["FeatureExtractor", "ImageFeatures", "read_features", "write_features"]
