"""The table of keys, and the checks made on the whole of a configuration.

One file for each section of the key tree. Every key has a row: the values it may have, and the
condition under which it is read. What relates several keys is written by hand beside the rows.
"""

from fastreid_ext.checks.automatic import fill_in
from fastreid_ext.checks.check import check_config, log_unread_keys

__all__ = ["check_config", "fill_in", "log_unread_keys"]
