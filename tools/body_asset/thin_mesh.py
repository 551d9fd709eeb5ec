"""Thin a triangle mesh to a subset of its vertices, so that what is attached carries over.

Letters: V vertices, F faces.

[0] Garland and Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997
"""

import heapq

import numpy as np


def face_quadrics(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Quadrics (V, 4, 4): squared distance to a vertex's planes, and to walls along open edges."""
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    quadrics = np.zeros((len(points), 4, 4))

    def add(
        vertex_ids: np.ndarray, directions: np.ndarray, through: np.ndarray, scale: float
    ) -> None:
        length = np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-12)
        unit = directions / length
        plane = np.concatenate([unit, -(unit * through).sum(axis=1, keepdims=True)], axis=1)
        quadric = scale * length[..., None] * plane[:, :, None] * plane[:, None, :]
        np.add.at(quadrics, vertex_ids, quadric)

    for k in range(3):
        add(faces[:, k], normals, corners[:, 0], 1.0)
    edges = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    owner = np.tile(np.arange(len(faces)), 3)
    _, inverse, counts = np.unique(
        np.sort(edges, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    is_open = counts[inverse.ravel()] == 1
    edge = edges[is_open]
    wall_faces = owner[is_open]
    walls = np.cross(points[edge[:, 1]] - points[edge[:, 0]], normals[wall_faces])
    for k in range(2):
        add(edge[:, k], walls, points[edge[:, 0]], 1e3)
    return quadrics


class HalfEdgeCollapse:
    """Thin a triangle mesh by moving vertices onto neighbours, cheapest quadric error first [0]."""

    def __init__(self, points: np.ndarray, faces: np.ndarray, importance: np.ndarray) -> None:
        """``importance`` (V,) multiplies the error of removing a vertex."""
        self.points = points
        self.importance = importance
        self.quadrics = face_quadrics(points, faces)
        self.faces = {i: tuple(face) for i, face in enumerate(faces.tolist())}
        self.faces_at: dict[int, set[int]] = {v: set() for v in range(len(points))}
        for i, face in self.faces.items():
            for v in face:
                self.faces_at[v].add(i)
        self.version = np.zeros(len(points), dtype=int)
        self.heap: list[tuple[float, int, int, int]] = []
        for v in range(len(points)):
            self._push(v)

    def neighbours(self, v: int) -> set[int]:
        """Vertices that share an edge with ``v``."""
        return {u for i in self.faces_at[v] for u in self.faces[i]} - {v}

    def _push(self, v: int) -> None:
        around = sorted(self.neighbours(v))
        if not around:
            return
        target = np.column_stack([self.points[around], np.ones(len(around))])
        quadric = self.quadrics[v] + self.quadrics[around]
        error = np.einsum("na,nab,nb->n", target, quadric, target).clip(0)
        length = ((self.points[around] - self.points[v]) ** 2).sum(axis=1)
        cost = self.importance[v] * (
            error + 1e-4 * length**2
        )  # the second term prefers short edges
        for u, c in zip(around, cost.tolist(), strict=True):
            heapq.heappush(self.heap, (c, v, u, int(self.version[v])))

    def _is_safe(self, v: int, u: int) -> bool:
        shared = [i for i in self.faces_at[v] if u in self.faces[i]]
        if len(self.neighbours(v) & self.neighbours(u)) != len(shared) or not shared:
            return False
        for i in self.faces_at[v].difference(shared):
            old = self.points[list(self.faces[i])]
            new = self.points[[u if w == v else w for w in self.faces[i]]]
            before = np.cross(old[1] - old[0], old[2] - old[0])
            after = np.cross(new[1] - new[0], new[2] - new[0])
            if before @ after < 0.3 * np.linalg.norm(before) * np.linalg.norm(after):
                return False  # the triangle would turn over or nearly so
        return True

    def run(self, vertices_left: int) -> None:
        """Collapse until ``vertices_left`` vertices carry faces."""
        alive = sum(bool(faces) for faces in self.faces_at.values())
        while alive > vertices_left and self.heap:
            _, v, u, version = heapq.heappop(self.heap)
            if version != self.version[v] or not self.faces_at[v] or not self._is_safe(v, u):
                continue
            for i in list(self.faces_at[v]):
                face = self.faces[i]
                if u in face:
                    for w in face:
                        self.faces_at[w].discard(i)
                    del self.faces[i]
                else:
                    self.faces[i] = tuple(u if w == v else w for w in face)
                    self.faces_at[u].add(i)
            self.faces_at[v] = set()
            self.quadrics[u] += self.quadrics[v]
            alive -= 1
            for w in self.neighbours(u) | {u}:
                self.version[w] += 1
                self._push(w)
