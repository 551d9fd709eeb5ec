"""Pre-trained weights: read a file of any family and load it into any backbone, with a report."""

from fastreid_ext.modeling.pretrained.convert import converted
from fastreid_ext.modeling.pretrained.families import FAMILIES
from fastreid_ext.modeling.pretrained.files import read_weights
from fastreid_ext.modeling.pretrained.load import load_pretrained
from fastreid_ext.modeling.pretrained.report import LoadReport

__all__ = ["FAMILIES", "LoadReport", "converted", "load_pretrained", "read_weights"]
