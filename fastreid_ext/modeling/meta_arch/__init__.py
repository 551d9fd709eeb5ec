"""Meta-architectures, registered in fastreid's registry: they turn a batch into losses."""

from fastreid_ext.modeling.meta_arch.added_losses import add_losses
from fastreid_ext.modeling.meta_arch.bdb import BDB
from fastreid_ext.modeling.meta_arch.byol_pretrain import BYOLPretrain
from fastreid_ext.modeling.meta_arch.cacl import CaCL
from fastreid_ext.modeling.meta_arch.cluster_baseline import ClusterBaseline
from fastreid_ext.modeling.meta_arch.cluster_contrast import ClusterContrast
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import ContrastivePretrain
from fastreid_ext.modeling.meta_arch.domain_baseline import DomainBaseline
from fastreid_ext.modeling.meta_arch.glt import GLT
from fastreid_ext.modeling.meta_arch.hcd import HCD
from fastreid_ext.modeling.meta_arch.hhcl import HHCL
from fastreid_ext.modeling.meta_arch.ice import ICE
from fastreid_ext.modeling.meta_arch.idm import IDM
from fastreid_ext.modeling.meta_arch.mgn import extend_host_mgn
from fastreid_ext.modeling.meta_arch.pplr import PPLR
from fastreid_ext.modeling.meta_arch.prototype_baseline import PrototypeBaseline
from fastreid_ext.modeling.meta_arch.simclr_pretrain import SimCLRPretrain
from fastreid_ext.modeling.meta_arch.spcl import SpCL
from fastreid_ext.modeling.meta_arch.unrn import UNRN
from fastreid_ext.modeling.meta_arch.view_losses import add_view_losses

__all__ = [
    "BDB",
    "GLT",
    "HCD",
    "HHCL",
    "ICE",
    "IDM",
    "PPLR",
    "UNRN",
    "BYOLPretrain",
    "CaCL",
    "ClusterBaseline",
    "ClusterContrast",
    "ContrastivePretrain",
    "DomainBaseline",
    "PrototypeBaseline",
    "SimCLRPretrain",
    "SpCL",
    "add_losses",
    "add_view_losses",
    "extend_host_mgn",
]
