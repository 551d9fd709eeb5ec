"""The 19 corruptions of ImageNet-C and rain, on uint8 RGB images, fast enough to train with.

:func:`corrupt` is the way in. The noises are in ``noise``, the blurs in ``blur``, the weather in
``weather`` and ``rain``, everything else in ``colour``, ``digital`` and ``warping``; the compiled
kernels are imported when the first corruption of their module is asked for, so importing this
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
