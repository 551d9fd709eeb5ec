"""Variants of one experiment over seeds as a table: where a backbone came from, what it gives."""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import AP_RULE, Summary

_SHOWN = ("Rank-1", "mAP")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one variant with one seed.

    Attributes:
        variant: title of the variant.
        group: variants that answer one question; each group has a colour.
        seed: seed of all its random numbers.
        images: it was pre-trained on; 0 for none.
        persons: number of identities on them.
        pretrained: percentages by metric of the pre-trained model itself; {} for none.
        tuned: metrics of the model that was fine-tuned from it.
    """

    variant: str
    group: str
    seed: int
    images: int
    persons: int
    pretrained: Mapping[str, float]
    tuned: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class VariantTable:
    """Everything that was measured, in the order of the table.

    Attributes:
        cells: one of each variant and seed.
    """

    cells: Sequence[Measured]

    def names(self) -> list[str]:
        """Return the variants in their order."""
        return list(dict.fromkeys(cell.variant for cell in self.cells))

    def of(self, name: str) -> list[Measured]:
        """Collect the figures of a variant by seed."""
        own = [cell for cell in self.cells if cell.variant == name]
        return sorted(own, key=lambda cell: cell.seed)

    def summary(self, name: str, stage: str, metric: str) -> Summary | None:
        """Return mean and spread over seeds of "pretrained" or "tuned"; None if not measured."""
        values = [getattr(cell, stage).get(metric) for cell in self.of(name)]
        known = [value for value in values if value is not None]
        return Summary.of(known) if known else None

    def gain(self, name: str, over: str, metric: str = "mAP") -> Summary | None:
        """Return the fine-tuned model's gain over another variant's, seed by seed."""
        theirs = {cell.seed: cell.tuned[metric] for cell in self.of(over)}
        gains = [
            cell.tuned[metric] - theirs[cell.seed] for cell in self.of(name) if cell.seed in theirs
        ]
        return Summary.of(gains) if gains else None

    def as_markdown(self, reference: str) -> str:
        """Return a Markdown table: Rank-1 / mAP before and after fine-tuning.

        Args:
            reference: variant that the gains are over.
        """
        rows = [
            [
                name,
                *(
                    _number(statistics.fmean(getattr(cell, what) for cell in self.of(name)))
                    for what in ("images", "persons")
                ),
                self._pair(name, "pretrained"),
                self._pair(name, "tuned"),
                "" if name == reference else _signed(self.gain(name, reference)),
            ]
            for name in self.names()
        ]
        seeds = {len(self.of(name)) for name in self.names()}
        count = " to ".join(str(number) for number in sorted({min(seeds), max(seeds)}))
        over = "one seed" if count == "1" else f"mean (standard deviation) over {count} seeds"
        heads = ["pre-trained on", "images", "persons", "without fine-tuning", "fine-tuned"]
        heads.append(f"mAP over {reference}")
        caption = f"Rank-1 / mAP in percent, {over}; {AP_RULE}. The gain is taken seed by seed."
        return "\n".join([caption, "", *markdown_table(heads, rows)]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return everything, ready for ``json.dumps``."""
        return {"ap_rule": AP_RULE, "cells": [dataclasses.asdict(cell) for cell in self.cells]}

    def _pair(self, name: str, stage: str) -> str:
        found = [self.summary(name, stage, metric) for metric in _SHOWN]
        return " / ".join(str(summary) for summary in found if summary is not None)


def write_variants(
    table: VariantTable, folder: Path, reference: str, about: Mapping[str, Any]
) -> None:
    """Write ``variants.json`` (with what ``about`` says) and ``variants.md``, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**about, **table.as_json()}
    atomic_write_text(folder / "variants.json", json.dumps(content, indent=1) + "\n")
    atomic_write_text(folder / "variants.md", table.as_markdown(reference))


def _number(count: float) -> str:
    return f"{count:,.0f}" if count else ""


def _signed(summary: Summary | None) -> str:
    if summary is None:
        return ""
    spread = "" if math.isnan(summary.spread) else f" ({summary.spread:.1f})"
    return f"{summary.mean:+.1f}{spread}"
