"""Pre-trained weights of any family into any backbone, with a report of what became of them."""

from fastreid_ext.modeling.pretrained.convert import converted
from fastreid_ext.modeling.pretrained.families import FAMILIES
from fastreid_ext.modeling.pretrained.files import read_weights
from fastreid_ext.modeling.pretrained.load import load_pretrained
from fastreid_ext.modeling.pretrained.report import LoadReport

__all__ = ["FAMILIES", "LoadReport", "converted", "load_pretrained", "read_weights"]
