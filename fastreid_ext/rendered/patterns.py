"""Find the surface that a spot shows and how its cloth looks there, in compiled code.

p, q, r are metres across, along and front-back of the spot's zone in the rest pose, see
:mod:`~fastreid_ext.rendered.body_coordinates`.
"""

# ruff: noqa: ANN001, ANN201, RUF046 (numba types arguments and makes floor a float)
import math

from numba import njit

from fastreid_ext.rendered.noise import cell, smooth


@njit(cache=True)
def surface_at(rules, starts, zone, p, q, r):
    """Find the surface at (across p, along q, depth r) of a zone: the last rule that holds."""
    found = 0
    for i in range(starts[zone], starts[zone + 1]):
        row = rules[i]
        if q < row[1] or q >= row[2] or (row[8] > 0 and r < 0) or (row[8] < 0 and r > 0):
            continue
        x = abs(p) if row[7] > 0 else p
        half = row[5]
        if row[5] != row[6]:
            half += (row[6] - row[5]) * (q - row[1]) / max(row[2] - row[1], 1e-6)
        if abs(x - row[3] - row[4] * (q - row[1])) < half:
            found = int(row[9])
    return found


@njit(cache=True, fastmath=True)
def pattern_at(surface, p, q, r, salt):
    """Compute the share of the second colour in [0, 1] and a brightness factor.

    ``surface`` is a row of :meth:`Cloth.row`; its kind is an index into ``cloth.PATTERNS``.
    """
    kind = int(surface[8])
    period = surface[9]
    phase = surface[10]
    duty = surface[13]
    share = 0.0
    tone = 1.0
    along = (q + phase) / period
    across = (p + phase) / period
    if kind == 1:
        share = 1.0 if along - math.floor(along) < duty else 0.0
    elif kind == 2:
        across *= 2.0
        share = 1.0 if across - math.floor(across) < duty * 0.6 else 0.0
    elif kind == 3:
        rows = along - math.floor(along) < duty
        columns = across - math.floor(across) < duty
        share = 0.5 * rows + 0.5 * columns
    elif kind == 4:
        share = 1.0 if q > 0.12 + phase else 0.0
    elif kind == 5:
        share = 1.0 if cell(int(math.floor(p * 45)), int(math.floor(q * 45)), salt) < 0.28 else 0.0
    elif kind == 6:
        seam = (q + phase) / 0.075
        seam -= math.floor(seam)
        tone = 0.62 + 0.5 * math.sqrt(math.sin(math.pi * seam) + 1e-6)
    weave = surface[12]
    grain = cell(int(math.floor((p + r) * 90)), int(math.floor(q * 90)), salt + 3) - 0.5
    shade = smooth((p + 0.7 * r) * 14, q * 9, salt + 5) - 0.5
    return share, tone * (1.0 + weave * grain + (0.06 + 3.4 * weave) * shade)
