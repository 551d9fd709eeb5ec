"""Street and indoor furniture, each piece a few primitives put at (x, z) on the ground; metres."""

from fastreid_ext.rendered.scene import Scene
from fastreid_ext.rendered.scene_tracer import BOX, CYLINDER, ELLIPSOID


def bench(scene: Scene, x: float, z: float) -> None:
    """Add a bench of a few primitives to the scene."""
    scene.add(BOX, "wood", (x, 0.44, z), (0.8, 0.04, 0.22))
    scene.add(BOX, "wood", (x, 0.72, z + 0.24), (0.8, 0.16, 0.03))
    for side in (-0.6, 0.6):
        scene.add(BOX, "dark metal", (x + side, 0.2, z), (0.04, 0.2, 0.2))


def bin(scene: Scene, x: float, z: float) -> None:
    """Add a bin of a few primitives to the scene."""
    scene.add(CYLINDER, "dark metal", (x, 0.42, z), (0.27, 0.42, 0.27))
    scene.add(ELLIPSOID, "metal", (x, 0.84, z), (0.28, 0.07, 0.28))


def pole(scene: Scene, x: float, z: float) -> None:
    """Add a pole of a few primitives to the scene."""
    scene.add(CYLINDER, "metal", (x, 2.2, z), (0.06, 2.2, 0.06))


def bollard(scene: Scene, x: float, z: float) -> None:
    """Add a bollard of a few primitives to the scene."""
    scene.add(CYLINDER, "dark metal", (x, 0.4, z), (0.09, 0.4, 0.09))


def planter(scene: Scene, x: float, z: float) -> None:
    """Add a planter of a few primitives to the scene."""
    scene.add(BOX, "concrete", (x, 0.28, z), (0.5, 0.28, 0.4))
    scene.add(ELLIPSOID, "leaves", (x, 0.8, z), (0.5, 0.45, 0.42))


def tree(scene: Scene, x: float, z: float) -> None:
    """Add a tree of a few primitives to the scene."""
    scene.add(CYLINDER, "bark", (x, 1.4, z), (0.16, 1.4, 0.16))
    scene.add(ELLIPSOID, "leaves", (x, 3.6, z), (1.5, 1.3, 1.5))


def bike(scene: Scene, x: float, z: float) -> None:
    """Add a bike of a few primitives to the scene."""
    for side in (-0.5, 0.5):
        scene.add(ELLIPSOID, "dark metal", (x + side, 0.33, z), (0.33, 0.33, 0.025))
    scene.add(BOX, "red paint", (x, 0.6, z), (0.5, 0.03, 0.03))
    scene.add(BOX, "red paint", (x + 0.42, 0.75, z), (0.03, 0.25, 0.2))
    scene.add(BOX, "dark metal", (x - 0.3, 0.85, z), (0.13, 0.04, 0.08))


def car(scene: Scene, x: float, z: float, paint: str) -> None:
    """Add a car of a few primitives to the scene."""
    scene.add(BOX, paint, (x, 0.55, z), (2.1, 0.32, 0.85))
    scene.add(BOX, "glass", (x - 0.1, 1.1, z), (1.1, 0.25, 0.75))
    scene.add(BOX, paint, (x - 0.1, 1.37, z), (1.0, 0.04, 0.72))
    for side in (-1.3, 1.3):
        scene.add(CYLINDER, "dark metal", (x + side, 0.3, z - 0.5), (0.32, 0.3, 0.4))


def column(scene: Scene, x: float, z: float) -> None:
    """Add a column of a few primitives to the scene."""
    scene.add(CYLINDER, "pale wall", (x, 2.5, z), (0.3, 2.5, 0.3))


def stand(scene: Scene, x: float, z: float) -> None:
    """Add a stand of a few primitives to the scene."""
    scene.add(BOX, "sign", (x, 0.75, z), (0.35, 0.55, 0.05))
