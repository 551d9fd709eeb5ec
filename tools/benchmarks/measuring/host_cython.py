"""fastreid's compiled ranking, built aside: what ours is tested against and timed against.

fastreid compiles it into its own installed package, with whatever ``python3`` is on PATH. Here it
is built with this interpreter in a folder of the caller's. Needs Cython and a C compiler (the
``dev`` extra and Debian's gcc).
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastreid

_SETUP = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

extension = Extension("rank_cy", ["rank_cy.pyx"], include_dirs=[numpy.get_include()])
setup(name="rank_cy", ext_modules=cythonize([extension]))
"""


def compiled_evaluate(folder: Path) -> Callable[..., Any]:
    """Return fastreid's ``evaluate_cy``, compiling it into ``folder`` unless it is there.

    Raises:
        RuntimeError: it cannot be compiled; the compiler's words are in the message.
    """
    library = folder / f"rank_cy{sysconfig.get_config_var('EXT_SUFFIX')}"  # of this interpreter
    if not library.is_file():
        _compile(folder)
    spec = importlib.util.spec_from_file_location("rank_cy", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate_cy


def _compile(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(fastreid.__file__).parent / "evaluation" / "rank_cylib" / "rank_cy.pyx"
    shutil.copy(source, folder)
    (folder / "setup.py").write_text(_SETUP)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"fastreid's Cython ranking does not compile in {folder}; it needs Cython (pip install "
            f"Cython) and a C compiler:\n{(done.stdout + done.stderr)[-2000:]}"
        )
