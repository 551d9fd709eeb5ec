"""The keys we add to fastreid's configuration, and the reader of its files."""

from fastreid_ext.config.defaults import add_fastreid_ext_config
from fastreid_ext.config.load import FROM_CHECKPOINT, finish_with, load_config

__all__ = ["FROM_CHECKPOINT", "add_fastreid_ext_config", "finish_with", "load_config"]
