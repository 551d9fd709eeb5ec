"""The picture of gates."""

import pytest
import torch
from PIL import Image

from fastreid_ext.evaluation.pictures.gates import plot_gates


def test_gates_are_plotted_and_weights_without_any_refused(tmp_path):
    weights = {f"backbone.layer1.{i}.bn1.gate": torch.full((4,), 1 - 0.2 * i) for i in range(4)}
    picture = plot_gates({**weights, "heads.weight": torch.ones(2)}, tmp_path / "gates.png")
    with Image.open(picture) as image:
        assert image.size == (720, 504)
    with pytest.raises(ValueError, match=r"with gates .*, got none; .* MODEL\.BIN\.ENABLED True"):
        plot_gates({"heads.weight": torch.ones(2)}, tmp_path / "none.png")
