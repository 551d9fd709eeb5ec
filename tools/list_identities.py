"""Stage 1 of drawing persons: write OUTPUT_DIR/identities.jsonl, and say who is left out.

    python tools/list_identities.py \
        --config-file projects/DiffusionReID/configs/generate_Market1501.yml \
        DATASETS.ROOT datasets OUTPUT_DIR logs/drawn

Each line is a person with the photographs to learn from, or the reason why there are none. When a
job has begun in that folder (job.json), its list is shown and stays as it is.
"""

import argparse
import logging
from pathlib import Path

import fastreid_ext  # noqa: F401  before anything of fastreid
from fastreid_ext.command_line import short_errors
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.stages.command import job_config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", help="local YAML file")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to change")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = job_config(args.config_file, args.opts, computes=False)
    # Here, so that mistakes are said before diffusers and transformers are imported.
    from fastreid_ext.generation.identities.identity_list import (
        find_identities,
        read_identities,
        summary,
        used_identities,
        write_identities,
    )
    from fastreid_ext.generation.stages.folder import SETTINGS

    layout = Layout(Path(cfg.OUTPUT_DIR))
    if (layout.output / SETTINGS).exists() and layout.identities.exists():
        identities = read_identities(layout.identities)
    else:
        identities = find_identities(cfg)
        write_identities(layout.identities, identities)
    for identity in identities:
        if identity.reason:
            logging.info("%s: %s", identity.name, identity.reason)
    used_identities(identities)
    print(f"{summary(identities)}: {layout.identities}")


if __name__ == "__main__":
    with short_errors():
        main()
