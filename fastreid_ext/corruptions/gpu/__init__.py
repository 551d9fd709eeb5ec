"""The corruptions on a whole batch (B, 3, H, W) of any device, each image by its own severity.

:func:`corrupt_batch` sorts a mixed batch into buckets by corruption, so nothing is computed and
thrown away, and sends each bucket's 7 to 48 operations without ever waiting for the device. On a
CPU the functions of :mod:`fastreid_ext.corruptions.cpu` are several times faster; this
is for a GPU. An image's random numbers come from its own seed alone
(:mod:`.random_numbers`) and are not those that ``corrupt`` samples from the same seed: the
distribution is the same, the pixels are not. Modules have the names of the ``cpu`` half.

Agreement with ``imagecorruptions`` 1.1.2, and so with ``corrupt(..., reference=True)``, at
severities 1 to 5 and four sizes. *Its numbers*: the random numbers of the reference for a seed are
given to our arithmetic, and the images compared, in grey levels; "share" is that of the values that
differ. Differences of 1 are values that float32 rounds to the other side of a whole number.
*Distribution*: samples are compared with the distribution that they should have. All of it is
tested in ``tests/corruptions/gpu``.

=================  =============  =======================  =========================================
corruption         compared by    largest difference       share at 256x128 (at worst, small images)
=================  =============  =======================  =========================================
contrast           pixels         0                        0
pixelate           pixels         0                        0
gaussian_blur      pixels         1                        0.001 (0.003)
zoom_blur          pixels         1                        0.001 (0.002)
defocus_blur       pixels         1                        0.001, severity 1 0.04 (0.07)
brightness         pixels         1                        0.01, severity 2 0.05 (0.07)
saturate           pixels         1                        0.02, severity 3 0.16 (0.2)
jpeg_compression   pixels         60, on average 0.6       0.06 (0.15); approximate, see the module
glass_blur         its numbers    1                        0.002 (0.02)
motion_blur        its numbers    1                        0.002 (0.005)
snow               its numbers    1                        0.001 (0.01)
frost              its numbers    1                        0.02 (0.03)
fog                its numbers    1                        0.001 (0.002)
elastic_transform  its numbers    1                        0.001 (0.001)
gaussian_noise     distribution   mean and sigma within 4 standard errors; tails end at 5.3 sigmas
speckle_noise      distribution   the same
impulse_noise      distribution   counts within 4 standard errors
shot_noise         distribution   each probability within 1e-5 (exact but for its steps of 2^-21)
spatter, rain      --             no batched form: ``corrupt`` on the CPU, image by image, which
                                  waits for the device and copies the images there and back
=================  =============  =======================  =========================================

[0] Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, https://arxiv.org/abs/1903.12261
"""

from fastreid_ext.corruptions.gpu.batch import BATCHED, ONE_BY_ONE, corrupt_batch
from fastreid_ext.corruptions.gpu.on_device import CorruptOnDevice

__all__ = ["BATCHED", "ONE_BY_ONE", "CorruptOnDevice", "corrupt_batch"]
