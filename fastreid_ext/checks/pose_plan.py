"""Keys of ``GENERATION.POSE_PLAN``: allowed values, and when they are read."""

from fastreid_ext.checks.conditions import is_any_of, is_none_of
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, Names, Numbers, Range

SAMPLERS = ("uniform", "inverse_density", "canonical")
POSES = ("bank", "set")
VIEWS = ("all", "set")
_SECTION = "GENERATION.POSE_PLAN"
_CHOSEN = is_none_of(f"{_SECTION}.SAMPLER", "canonical", instead=f"set {_SECTION}.SAMPLER uniform")
_BANK = _CHOSEN & is_any_of(f"{_SECTION}.POSES", "bank")

ROWS: list[Row] = rows_of(
    _SECTION,
    GENERATOR=ANYTHING,
    IMAGES=(COUNT, is_any_of(f"{_SECTION}.PER_IDENTITY", 0)),
    PER_IDENTITY=AT_LEAST_0,
    REFERENCES=COUNT,
    SAMPLER=Names(SAMPLERS),
    POSES=(Names(POSES), _CHOSEN),
    VIEWS=(Names(VIEWS), _CHOSEN),
    SOURCES=(ANYTHING, _BANK),
    BANK=(COUNT, _BANK),
    ELEVATION=(Numbers((2,), Range(-89, 89), "[lowest, highest] in degrees"), _CHOSEN),
    PLACEMENT=ANYTHING,
    AZIMUTH_BINS=COUNT,
    ELEVATION_BINS=COUNT,
    POSE_CLUSTERS=COUNT,
)
