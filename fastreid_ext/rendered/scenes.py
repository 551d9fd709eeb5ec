"""Procedural scenes: walls, floors and furniture in front of each camera of a domain.

The camera stands at x = z = 0 and looks towards +z; bodies walk in the middle of the view, so
furniture put there hides legs and arms now and then. A scene belongs to (domain, camera): it never
depends on the run's seed.
"""

import numpy as np

from fastreid_ext.rendered import furniture
from fastreid_ext.rendered.scene import Scene
from fastreid_ext.rendered.scene_tracer import BOX

_FURNITURE = {
    "RenderedCampus": (
        furniture.bench,
        furniture.bike,
        furniture.bollard,
        furniture.bin,
        furniture.pole,
    ),
    "RenderedMall": (furniture.planter, furniture.bin, furniture.stand, furniture.column),
    "RenderedStation": (
        furniture.bench,
        furniture.bin,
        furniture.column,
        furniture.stand,
        furniture.pole,
    ),
    "RenderedStreet": (
        furniture.bollard,
        furniture.pole,
        furniture.bike,
        furniture.bin,
        furniture.planter,
    ),
    "RenderedVI": (furniture.bin, furniture.planter, furniture.stand, furniture.pole),
}


def _furnish(scene: Scene, domain: str, count: int, rng: np.random.Generator) -> None:
    """Spread furniture over the walked area, away from the camera's feet."""
    for _ in range(count):
        put = _FURNITURE[domain][int(rng.integers(len(_FURNITURE[domain])))]
        put(scene, float(rng.uniform(-3.6, 3.6)), float(rng.uniform(4.6, 10.5)))


def _campus(camera: int, rng: np.random.Generator) -> Scene:
    scene = Scene(ground=("paving", "asphalt", "slabs", "grass", "paving", "asphalt")[camera])
    if scene.ground == "grass":
        scene.add(BOX, "paving", (0, 0.0, 8), (3.2, 0.012, 9))
    else:
        scene.add(BOX, "grass", (float(rng.choice([-9, 9])), 0.0, 10), (5.2, 0.02, 14))
    scene.add(
        BOX,
        ("brick", "facade", "grey facade")[camera % 3],
        (0, 4, 17 + 3 * rng.random()),
        (22, 4, 2),
    )
    for _ in range(4):
        furniture.tree(scene, float(rng.uniform(-9, 9)), float(rng.uniform(11.5, 15)))
    scene.add(BOX, "leaves", (float(rng.uniform(-5, 5)), 0.5, 13.2), (2.5, 0.5, 0.4))
    return scene


def _mall(camera: int, rng: np.random.Generator) -> Scene:
    scene = Scene(
        ground=(
            "polished tiles",
            "checker tiles",
            "slabs",
            "polished tiles",
            "wood",
            "checker tiles",
        )[camera]
    )
    for side in (-1, 1):
        if rng.random() < 0.8:
            scene.add(
                BOX,
                ("shop", "cool shop")[(camera + (side > 0)) % 2],
                (side * 6.2, 1.8, 9),
                (0.6, 1.8, 9),
            )
            scene.add(
                BOX,
                ("sign", "red paint", "white paint")[int(rng.integers(3))],
                (side * 5.6, 3.2, 9),
                (0.1, 0.35, 9),
            )
    scene.add(
        BOX,
        ("cool shop", "shop", "pale wall")[camera % 3],
        (0, 2.2, 15 + 2 * rng.random()),
        (12, 2.2, 0.6),
    )
    scene.add(BOX, "plaster", (0, 5.2, 10), (14, 0.3, 12))
    return scene


def _station(camera: int, rng: np.random.Generator) -> Scene:
    scene = Scene(
        ground=("platform", "concrete", "slabs", "platform", "concrete", "polished tiles")[camera]
    )
    if camera % 2 == 0:
        x = float(rng.choice([-5.0, 5.0]))
        scene.add(BOX, "yellow line", (x * 0.82, 0.0, 10), (0.18, 0.015, 14))
        scene.add(BOX, "train", (x * 1.35, 1.7, 12), (1.4, 1.6, 12))
    else:
        scene.add(BOX, "concrete", (0, 2.4, 14.5 + rng.random()), (14, 2.4, 0.5))
        scene.add(BOX, "sign", (float(rng.uniform(-4, 4)), 2.3, 13.9), (1.6, 0.4, 0.05))
    for z in (5.5, 10.5):
        furniture.column(scene, float(rng.choice([-3.4, 3.4])), z)
    scene.add(BOX, "dark metal", (0, 4.8, 10), (16, 0.3, 14))
    return scene


def _street(camera: int, rng: np.random.Generator) -> Scene:
    scene = Scene(ground=("paving", "asphalt", "crossing", "slabs", "paving", "asphalt")[camera])
    scene.add(BOX, "asphalt" if camera != 1 else "paving", (0, 0.0, 13.5), (20, 0.012, 2.2))
    scene.add(BOX, ("shop", "facade", "cool shop")[camera % 3], (0, 2.2, 18), (22, 2.2, 1.5))
    scene.add(BOX, ("brick", "plaster", "grey facade")[camera % 3], (0, 7, 18.2), (22, 2.6, 1.5))
    for x in (-5, 1, 6):
        if rng.random() < 0.75:
            paint = ("red paint", "blue paint", "white paint", "dark metal")[int(rng.integers(4))]
            furniture.car(scene, x + float(rng.uniform(-1, 1)), 12.8, paint)
    for _ in range(2):
        furniture.tree(scene, float(rng.uniform(-7, 7)), 11.2)
    return scene


def _infrared(camera: int, rng: np.random.Generator) -> Scene:
    if camera >= 3:
        return _campus(camera, rng)
    scene = Scene(ground=("polished tiles", "checker tiles", "concrete")[camera])
    scene.add(BOX, "pale wall", (-3.8, 1.6, 8), (0.3, 1.6, 9))
    scene.add(BOX, ("plaster", "pale wall", "concrete")[camera], (4.2, 1.6, 8), (0.3, 1.6, 9))
    scene.add(BOX, ("wood", "plaster", "pale wall")[camera], (0, 1.6, 13), (5, 1.6, 0.3))
    scene.add(BOX, "glass", (float(rng.uniform(-2, 2)), 1.1, 12.68), (0.6, 1.1, 0.03))
    return scene


_BUILDERS = {
    "RenderedCampus": _campus,
    "RenderedMall": _mall,
    "RenderedStation": _station,
    "RenderedStreet": _street,
    "RenderedVI": _infrared,
}


def build_scene(domain: str, camera: int, rng: np.random.Generator) -> Scene:
    """Build the scene in front of camera ``camera`` (0 to 5) of ``domain``."""
    scene = _BUILDERS[domain](camera, rng)
    _furnish(scene, domain, int(rng.integers(2, 5)), rng)
    return scene
