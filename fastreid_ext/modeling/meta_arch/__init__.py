"""Meta-architectures: from a batch to losses; registered in fastreid's registry."""

from fastreid_ext.modeling.meta_arch.bdb import BDB

__all__ = ["BDB"]
