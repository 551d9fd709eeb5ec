"""Messages for unknown names, with the nearest known name."""

import difflib
from collections.abc import Iterable

_FEW = 30  # maximum number of names that a message lists


def unknown_name(place: str, name: str, known: Iterable[str]) -> str:
    """Describe an unknown name by the nearest known name, or by all of them.

    Args:
        place: key, option or column that holds the name.
        name: name as the user wrote it.
        known: names that ``place`` accepts.

    Returns:
        One sentence without a full stop.

    Example:
        >>> unknown_name("SOLVER.OPT", "Adm", ["Adam", "SGD"])
        "unknown name 'Adm' in SOLVER.OPT; did you mean 'Adam'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    lowered = [candidate for candidate in known if candidate.lower() == name.lower()]
    if lowered or near:
        hint = f"did you mean '{(lowered or near)[0]}'?"
    elif len(known) <= _FEW:
        hint = "known: " + ", ".join(known)
    else:
        hint = f"none of the {len(known)} known names is like it"
    return f"unknown name '{name}' in {place}; {hint}"
