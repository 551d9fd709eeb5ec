"""The keys we add to fastreid's configuration, and the checks made on the whole of it."""

from fastreid_ext.config.checks import check_config
from fastreid_ext.config.defaults import add_fastreid_ext_config
from fastreid_ext.config.load import FROM_CHECKPOINT, load_config

__all__ = ["FROM_CHECKPOINT", "add_fastreid_ext_config", "check_config", "load_config"]
