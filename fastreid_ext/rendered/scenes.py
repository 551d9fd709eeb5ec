"""Procedural scenes: walls, floors and furniture in front of each camera of a domain.

The camera stands at x = z = 0 and looks towards +z; people walk in the middle of the view, so furniture put there hides
legs and arms now and then. A scene belongs to (domain, camera): it never depends on the run's seed.
"""

import dataclasses

import numpy as np

from fastreid_ext.rendered.palettes import to_linear
from fastreid_ext.rendered.scene_tracer import BOX, CYLINDER, ELLIPSOID, TEXTURES

# name -> (sRGB bytes, second sRGB bytes, NIR reflectance, second NIR, texture, metres per cell)
SURFACES: dict[str, tuple] = {
    "asphalt": ((92, 92, 94), (92, 92, 94), 0.16, 0.16, "asphalt", 1.0),
    "paving": ((158, 154, 146), (112, 108, 102), 0.32, 0.2, "tiles", 0.5),
    "slabs": ((168, 164, 158), (138, 134, 128), 0.34, 0.28, "slabs", 1.2),
    "grass": ((74, 100, 48), (108, 128, 66), 0.55, 0.7, "foliage", 1.0),
    "leaves": ((38, 62, 30), (92, 118, 58), 0.5, 0.75, "foliage", 1.0),
    "polished tiles": ((206, 198, 184), (150, 142, 130), 0.5, 0.35, "tiles", 0.8),
    "checker tiles": ((198, 192, 184), (120, 112, 104), 0.5, 0.3, "slabs", 0.6),
    "platform": ((142, 142, 140), (98, 98, 98), 0.28, 0.2, "tiles", 0.4),
    "yellow line": ((206, 172, 52), (176, 146, 48), 0.5, 0.45, "tiles", 0.4),
    "crossing": ((98, 98, 100), (208, 206, 200), 0.16, 0.6, "bands", 1.0),
    "brick": ((142, 84, 66), (166, 154, 142), 0.4, 0.42, "bricks", 0.42),
    "facade": ((186, 172, 148), (54, 66, 78), 0.5, 0.1, "windows", 2.2),
    "grey facade": ((140, 144, 148), (70, 84, 98), 0.4, 0.1, "windows", 2.8),
    "shop": ((206, 180, 142), (44, 42, 42), 0.4, 0.1, "shops", 2.6),
    "cool shop": ((160, 176, 190), (52, 56, 60), 0.4, 0.1, "shops", 3.2),
    "plaster": ((198, 192, 180), (198, 192, 180), 0.5, 0.5, "plain", 1.0),
    "pale wall": ((214, 212, 206), (160, 158, 152), 0.6, 0.5, "planks", 1.4),
    "concrete": ((130, 128, 124), (104, 102, 100), 0.3, 0.25, "tiles", 2.4),
    "metal": ((104, 108, 112), (104, 108, 112), 0.25, 0.25, "plain", 1.0),
    "dark metal": ((52, 54, 58), (52, 54, 58), 0.15, 0.15, "plain", 1.0),
    "wood": ((132, 94, 60), (76, 54, 36), 0.5, 0.4, "planks", 0.14),
    "bark": ((84, 66, 50), (60, 48, 38), 0.35, 0.3, "planks", 0.1),
    "train": ((196, 198, 202), (44, 50, 58), 0.4, 0.08, "windows", 2.0),
    "red paint": ((150, 44, 40), (150, 44, 40), 0.5, 0.5, "plain", 1.0),
    "blue paint": ((46, 74, 128), (46, 74, 128), 0.4, 0.4, "plain", 1.0),
    "white paint": ((206, 206, 202), (206, 206, 202), 0.6, 0.6, "plain", 1.0),
    "glass": ((46, 54, 62), (46, 54, 62), 0.08, 0.08, "plain", 1.0),
    "sign": ((44, 82, 132), (214, 214, 208), 0.4, 0.6, "bands", 0.5),
}
_NAMES = list(SURFACES)


@dataclasses.dataclass
class Scene:
    """Primitives of one scene under construction; ``arrays`` gives the tracer's form."""

    ground: str
    kinds: list[int] = dataclasses.field(default_factory=list)
    boxes: list[tuple] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)

    def add(self, kind: int, surface: str, centre: tuple, half: tuple) -> None:
        """Put one primitive; centre and half size in metres."""
        self.kinds.append(kind)
        self.boxes.append((centre, half))
        self.names.append(surface)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """kinds (K,), boxes (K, 6), surfaces (S, 10), faces (K + 1,) for :func:`scene_tracer.trace`."""
        table = [
            [*to_linear(first), *to_linear(second), nir, second_nir, TEXTURES.index(texture), scale]
            for first, second, nir, second_nir, texture, scale in SURFACES.values()
        ]
        faces = [_NAMES.index(name) for name in [*self.names, self.ground]]
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 6)
        return np.array(self.kinds, np.int64), boxes, np.array(table), np.array(faces, np.int64)


def _bench(scene: Scene, x: float, z: float) -> None:
    scene.add(BOX, "wood", (x, 0.44, z), (0.8, 0.04, 0.22))
    scene.add(BOX, "wood", (x, 0.72, z + 0.24), (0.8, 0.16, 0.03))
    for side in (-0.6, 0.6):
        scene.add(BOX, "dark metal", (x + side, 0.2, z), (0.04, 0.2, 0.2))


def _bin(scene: Scene, x: float, z: float) -> None:
    scene.add(CYLINDER, "dark metal", (x, 0.42, z), (0.27, 0.42, 0.27))
    scene.add(ELLIPSOID, "metal", (x, 0.84, z), (0.28, 0.07, 0.28))


def _pole(scene: Scene, x: float, z: float) -> None:
    scene.add(CYLINDER, "metal", (x, 2.2, z), (0.06, 2.2, 0.06))


def _bollard(scene: Scene, x: float, z: float) -> None:
    scene.add(CYLINDER, "dark metal", (x, 0.4, z), (0.09, 0.4, 0.09))


def _planter(scene: Scene, x: float, z: float) -> None:
    scene.add(BOX, "concrete", (x, 0.28, z), (0.5, 0.28, 0.4))
    scene.add(ELLIPSOID, "leaves", (x, 0.8, z), (0.5, 0.45, 0.42))


def _tree(scene: Scene, x: float, z: float) -> None:
    scene.add(CYLINDER, "bark", (x, 1.4, z), (0.16, 1.4, 0.16))
    scene.add(ELLIPSOID, "leaves", (x, 3.6, z), (1.5, 1.3, 1.5))


def _bike(scene: Scene, x: float, z: float) -> None:
    for side in (-0.5, 0.5):
        scene.add(ELLIPSOID, "dark metal", (x + side, 0.33, z), (0.33, 0.33, 0.025))
    scene.add(BOX, "red paint", (x, 0.6, z), (0.5, 0.03, 0.03))
    scene.add(BOX, "red paint", (x + 0.42, 0.75, z), (0.03, 0.25, 0.2))
    scene.add(BOX, "dark metal", (x - 0.3, 0.85, z), (0.13, 0.04, 0.08))


def _car(scene: Scene, x: float, z: float, paint: str) -> None:
    scene.add(BOX, paint, (x, 0.55, z), (2.1, 0.32, 0.85))
    scene.add(BOX, "glass", (x - 0.1, 1.1, z), (1.1, 0.25, 0.75))
    scene.add(BOX, paint, (x - 0.1, 1.37, z), (1.0, 0.04, 0.72))
    for side in (-1.3, 1.3):
        scene.add(CYLINDER, "dark metal", (x + side, 0.3, z - 0.5), (0.32, 0.3, 0.4))


def _column(scene: Scene, x: float, z: float) -> None:
    scene.add(CYLINDER, "pale wall", (x, 2.5, z), (0.3, 2.5, 0.3))


def _stand(scene: Scene, x: float, z: float) -> None:
    scene.add(BOX, "sign", (x, 0.75, z), (0.35, 0.55, 0.05))


_FURNITURE = {
    "RenderedCampus": (_bench, _bike, _bollard, _bin, _pole),
    "RenderedMall": (_planter, _bin, _stand, _column),
    "RenderedStation": (_bench, _bin, _column, _stand, _pole),
    "RenderedStreet": (_bollard, _pole, _bike, _bin, _planter),
    "RenderedVI": (_bin, _planter, _stand, _pole),
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
    scene.add(BOX, ("brick", "facade", "grey facade")[camera % 3], (0, 4, 17 + 3 * rng.random()), (22, 4, 2))
    for _ in range(4):
        _tree(scene, float(rng.uniform(-9, 9)), float(rng.uniform(11.5, 15)))
    scene.add(BOX, "leaves", (float(rng.uniform(-5, 5)), 0.5, 13.2), (2.5, 0.5, 0.4))
    return scene


def _mall(camera: int, rng: np.random.Generator) -> Scene:
    scene = Scene(ground=("polished tiles", "checker tiles", "slabs", "polished tiles", "wood", "checker tiles")[camera])
    for side in (-1, 1):
        if rng.random() < 0.8:
            scene.add(BOX, ("shop", "cool shop")[(camera + (side > 0)) % 2], (side * 6.2, 1.8, 9), (0.6, 1.8, 9))
            scene.add(BOX, ("sign", "red paint", "white paint")[int(rng.integers(3))], (side * 5.6, 3.2, 9), (0.1, 0.35, 9))
    scene.add(BOX, ("cool shop", "shop", "pale wall")[camera % 3], (0, 2.2, 15 + 2 * rng.random()), (12, 2.2, 0.6))
    scene.add(BOX, "plaster", (0, 5.2, 10), (14, 0.3, 12))
    return scene


def _station(camera: int, rng: np.random.Generator) -> Scene:
    scene = Scene(ground=("platform", "concrete", "slabs", "platform", "concrete", "polished tiles")[camera])
    if camera % 2 == 0:
        x = float(rng.choice([-5.0, 5.0]))
        scene.add(BOX, "yellow line", (x * 0.82, 0.0, 10), (0.18, 0.015, 14))
        scene.add(BOX, "train", (x * 1.35, 1.7, 12), (1.4, 1.6, 12))
    else:
        scene.add(BOX, "concrete", (0, 2.4, 14.5 + rng.random()), (14, 2.4, 0.5))
        scene.add(BOX, "sign", (float(rng.uniform(-4, 4)), 2.3, 13.9), (1.6, 0.4, 0.05))
    for z in (5.5, 10.5):
        _column(scene, float(rng.choice([-3.4, 3.4])), z)
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
            _car(scene, x + float(rng.uniform(-1, 1)), 12.8, paint)
    for _ in range(2):
        _tree(scene, float(rng.uniform(-7, 7)), 11.2)
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
    """The scene in front of camera ``camera`` (0 to 5) of ``domain``."""
    scene = _BUILDERS[domain](camera, rng)
    _furnish(scene, domain, int(rng.integers(3, 6)), rng)
    return scene
