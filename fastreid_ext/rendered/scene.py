"""Scenes in the tracer's form: primitives with named surfaces."""

import dataclasses

import numpy as np

from fastreid_ext.rendered.palettes import to_linear
from fastreid_ext.rendered.scene_tracer import TEXTURES

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
        """Add one primitive; centre and half size in metres."""
        self.kinds.append(kind)
        self.boxes.append((centre, half))
        self.names.append(surface)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Stack kinds (K,), boxes (K, 6), surfaces (S, 10) and faces (K + 1,) for the tracer."""
        table = [
            [*to_linear(first), *to_linear(second), nir, second_nir, TEXTURES.index(texture), scale]
            for first, second, nir, second_nir, texture, scale in SURFACES.values()
        ]
        faces = [_NAMES.index(name) for name in [*self.names, self.ground]]
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 6)
        return np.array(self.kinds, np.int64), boxes, np.array(table), np.array(faces, np.int64)
