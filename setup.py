"""Install with `make install`: fastreid itself needs --no-deps (see README, Install)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "fastreid_ext/__init__.py").read_text())[1]

setup(
    name="fastreid_ext",
    version=VERSION,
    description="fastreid on today's PyTorch, with rendered and generated persons as data",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["fastreid_ext", "fastreid_ext.*"]),
    package_data={"fastreid_ext": ["bodies/*.npz", "bodies/*.md"]},
    # Ranges, so that a torch that is already there is kept; constraints.txt has what we test with.
    install_requires=[
        "torch>=2.6",  # torch.load reads weights only by default
        "torchvision>=0.21",
        "numpy>=2,<3",
        "yacs==0.1.8",
        "faiss-cpu>=1.8,<2",
        "opencv-python-headless>=4.7.0.68,<5",
        "pillow>=10",
        "scikit-learn<2",
        "scipy<2",
        "tabulate>=0.9,<0.10",
        "termcolor>=2.2,<3",
        "tensorboard<3",
        "matplotlib>=3.8",
        "numba>=0.60",
        "simplejpeg>=1.7",
        "tqdm>=4.60",
        "pyyaml>=6",
        "timm>=1.0.9,<2",
        "safetensors>=0.4",
        "huggingface_hub>=0.30",
        # Activation maps.
        "grad-cam>=1.5,<2",
    ],
    extras_require={
        "generation": [
            "diffusers==0.42.1",
            "transformers>=5.23,<6",
            "peft>=0.21.2,<0.22",
            "accelerate>=1.15,<2",
            # Perceptual hashes, by which near-duplicates are found.
            "ImageHash>=4.3,<5",
        ],
        # ONNX export and its check against torch.
        "deploy": ["onnx>=1.18", "onnxruntime>=1.20", "onnxscript>=0.3"],
        # The reference our skinning is tested against; licensed for non-commercial science only,
        # so it comes only where it is asked for. Body files load without it.
        "body": ["smplx==0.1.28"],
        "dev": [
            "pytest>=8,<10",
            # One process of tests for each core.
            "pytest-xdist>=3.6,<4",
            "ruff==0.17.5",
            "pre-commit>=4",
            "codespell>=2.3",
            # Independent truth for the renderer's tests.
            "embreex>=4.4.0,<5",
            # Opens generated sets as anybody would.
            "datasets>=3,<6",
            # Families of weights as their own libraries build and save them; with diffusers, peft
            # and accelerate also what "generation" needs, so that its tests run.
            "transformers>=5.23,<6",
            "diffusers==0.42.1",
            "peft>=0.21.2,<0.22",
            "accelerate>=1.15,<2",
            "ImageHash>=4.3,<5",
            "open_clip_torch>=3,<4",
            "hypothesis>=6.100",
            "onnx>=1.18",
            "onnxruntime>=1.20",
            "onnxscript>=0.3",
            # The reference our ranking and re-ranking are timed against.
            "Cython>=3,<4",
            # The reference of SimCLR's loss.
            "pytorch-metric-learning>=2.5,<3",
            # What imagecorruptions, the reference of our corruptions, imports.
            "scikit-image>=0.24",
        ],
        # For uv, which can override fastreid's pins (pyproject.toml); pip needs --no-deps.
        "fastreid": ["fastreid==1.4.0"],
    },
)
