"""How fast persons are rendered: images/s on one core, everything included, and where time goes.

The speed comes from a plain run, the shares from a second one under the profiler.
"""

import argparse
import cProfile
import pstats
import time

import cv2

from fastreid_ext.rendered.domains import DOMAINS
from fastreid_ext.rendered.plan import Settings, plan_identity
from fastreid_ext.rendered.rendered_images import render_images

# Stage -> (file, function) whose cumulative time is the stage's.
STAGES = {
    "sample the identity": ("identities.py", "sample_identity"),
    "dress it": ("dressing.py", "dress"),
    "sample the shot": ("shots.py", "sample_shot"),
    "pose and skin": ("person_renderer.py", "_actors"),
    "rasterise": ("person_renderer.py", "_rasterize"),
    "shadow map": ("person_renderer.py", "_shadow_map"),
    "cut the scene": ("person_renderer.py", "_crop"),
    "shade the scene": ("shading.py", "shade_scene"),
    "normals": ("render.py", "vertex_normals"),
    "shade people": ("shading.py", "shade_person"),
    "lens and sensor": ("camera_effects.py", "expose"),
    "JPEG": ("camera_effects.py", "encode"),
    "ground truth": ("rendered_images.py", "_row"),
}


def render(settings: Settings) -> int:
    """Render every identity in memory; returns the number of pictures."""
    return sum(
        1
        for person_id in range(1, settings.train_identities + 1)
        for _ in render_images(settings, plan_identity(settings, person_id))
    )


def stage_seconds(profile: cProfile.Profile) -> dict[str, float]:
    """Cumulative seconds of each stage."""
    found = {}
    for (file, _, function), numbers in pstats.Stats(profile).stats.items():
        for stage, (name, wanted) in STAGES.items():
            if function == wanted and file.endswith(name):
                found[stage] = found.get(stage, 0.0) + numbers[3]
    return found


def main() -> None:
    """Warm up, time, profile, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domain", default="RenderedCampus", choices=DOMAINS)
    parser.add_argument("--identities", type=int, default=20)
    parser.add_argument("--images-per-identity", type=int, default=16)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    settings = Settings(arguments.domain, arguments.identities, 0, arguments.images_per_identity, 0)
    render(settings)
    start = time.process_time()
    count = render(settings)
    seconds = time.process_time() - start
    profile = cProfile.Profile()
    profile.runcall(render, settings)
    for stage, spent in stage_seconds(profile).items():
        print(f"{stage:20s} {1000 * spent / count:7.2f} ms/image (under the profiler)")
    print(f"{arguments.domain}: {count / seconds:.0f} images/s on one core, {count} images")


if __name__ == "__main__":
    main()
