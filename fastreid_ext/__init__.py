"""fastreid_ext: fastreid on today's PyTorch, with rendered and generated images as training data.

Import this package before anything of fastreid: it repairs the host (:mod:`fastreid_ext.compat`)
registers our data sets and models in fastreid's registries and our keys among the defaults of
fastreid's configuration, and has :func:`.config.load_config` check what it reads
(:mod:`fastreid_ext.checks`). Importing it twice, or in a spawned child, changes nothing.
"""

import os

from fastreid_ext import compat

# onnxruntime, which diffusers imports too, else reports every process to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
compat.prepare()
compat.repair()

from fastreid.config.defaults import _C  # noqa: E402  what get_cfg() copies

import fastreid_ext.data.datasets  # noqa: E402, F401  registers the data sets
from fastreid_ext.checks import check_config, fill_in  # noqa: E402  which know what is registered
from fastreid_ext.config import add_fastreid_ext_config, finish_with  # noqa: E402
from fastreid_ext.data.own_sets import register_own_sets  # noqa: E402
from fastreid_ext.modeling.build import build_backbone  # noqa: E402  and the models
from fastreid_ext.modeling.meta_arch import extend_host_mgn  # noqa: E402

compat.build_backbones_with(build_backbone)
finish_with(fill_in=fill_in, check=check_config, register=register_own_sets)
extend_host_mgn()
# fastreid reads configuration files by itself too: Distiller's teachers, DefaultPredictor.
add_fastreid_ext_config(_C)

__version__ = "0.1.0"
