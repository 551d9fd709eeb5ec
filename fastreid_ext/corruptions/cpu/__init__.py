"""The 19 corruptions of ImageNet-C and rain, on uint8 RGB images, fast enough to train with.

:func:`corrupt` is the way in. A corruption's function and its parameters by severity are in the
module of its name; the four noises are in ``noise``, and brightness, contrast and saturation in
``colour``. A module's compiled kernels are imported with its first corruption, so importing this
package is cheap.

[0] Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, https://arxiv.org/abs/1903.12261
"""

from fastreid_ext.corruptions.cpu.corrupt import (
    COMMON_CORRUPTIONS,
    CORRUPTION_NAMES,
    corrupt,
    enlarged,
)

__all__ = ["COMMON_CORRUPTIONS", "CORRUPTION_NAMES", "corrupt", "enlarged"]
