"""Base recipes by name, wherever they lie: configs/ or the page of their method."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def base_recipe(name: str) -> Path:
    """Find the one file ``Base-<name>.yml`` of configs/ and projects/*/configs/."""
    file = f"Base-{name}.yml"
    (found,) = [*REPOSITORY.glob(f"configs/{file}"), *REPOSITORY.glob(f"projects/*/configs/{file}")]
    return found
