"""The table of keys, and the checks made on the whole of a configuration.

One file for each section of the key tree. Every key has a row: the values it may have, and the
condition under which it is read. Relations between several keys are functions in the same files.
"""

from fastreid_ext.checks.automatic import fill_in
from fastreid_ext.checks.check import check_config, log_unread_keys

__all__ = ["check_config", "fill_in", "log_unread_keys"]
