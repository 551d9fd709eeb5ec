"""Human bodies, their poses, cameras and maps; on the CPU with numpy, scipy and numba only.

- ``body_model``: :func:`load_body`, :class:`BodyModel` (shape, pose, skinning), :class:`PosedBody`
- ``parts``: names of SMPL's 24 joints and of the body parts that garments and part maps refer to
- ``poses``: ``walking``, ``standing``, ``carrying``, ``phone``, ``looking_aside``, ``sitting``,
  ``facing``, ``on_ground``; ``pose_bank``: ``out_of_distribution``; ``motion_files``: AMASS
- ``cameras``: :class:`Camera`, ``from_viewpoint``, ``look_at``
- ``render``: ``rasterize``, ``interpolate``, ``vertex_normals``; ``conditions``: ``depth_map``,
  ``normal_map``, ``skeleton_map``, ``part_map``, ``colour_map``

Axes everywhere: metres, y up, a body in rest pose faces +z, +x is its own left.
"""
