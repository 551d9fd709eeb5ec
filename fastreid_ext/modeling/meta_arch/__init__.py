"""Meta-architectures: from a batch to losses; registered in fastreid's registry."""

from fastreid_ext.modeling.meta_arch.bdb import BDB
from fastreid_ext.modeling.meta_arch.mgn import extend_host_mgn

__all__ = ["BDB", "extend_host_mgn"]
