"""Checkpoints without the frozen parts that a model declares."""

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.engine.checkpoint import AtomicCheckpointer, read_checkpoint
from fastreid_ext.engine.saved_weights import load_saved_weights, saved_weights


class Guide(nn.Module):
    """A network of another file, not trained here."""

    left_out_of_checkpoints = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8).requires_grad_(False)


class Guided(nn.Module):
    """A layer that learns from the guide."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.guide = Guide()

    def forward(self, features: Tensor) -> Tensor:
        projected = self.layer(features)
        return (projected - self.guide.layer(projected).detach()).pow(2).mean()


def trained() -> tuple[Guided, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = Guided()
    optimizer = torch.optim.SGD(model.layer.parameters(), lr=0.1)
    model(torch.rand(16, 4)).backward()
    optimizer.step()
    return model, optimizer


def test_checkpoint_holds_what_is_trained_and_resumes_into_a_model_built_anew(tmp_path):
    model, optimizer = trained()
    AtomicCheckpointer(model, str(tmp_path), optimizer=optimizer).save("model_0000", epoch=0)
    written = read_checkpoint(tmp_path / "model_0000.pth")["model"]
    assert sorted(written) == ["layer.bias", "layer.weight"]
    fresh = Guided()
    own = torch.optim.SGD(nn.Linear(4, 8).parameters(), lr=0.1)
    guide = fresh.guide.layer.weight.clone()
    assert AtomicCheckpointer(fresh, str(tmp_path), optimizer=own).resume() == {"epoch": 0}
    assert torch.equal(fresh.layer.weight, model.layer.weight)
    assert torch.equal(fresh.guide.layer.weight, guide)


def test_checkpoint_that_holds_them_is_accepted_as_well(tmp_path):
    model, _ = trained()
    torch.save({"model": model.state_dict()}, tmp_path / "older.pth")
    fresh = Guided()
    AtomicCheckpointer(fresh, min_matched=1.0).load(str(tmp_path / "older.pth"))
    assert torch.equal(fresh.layer.weight, model.layer.weight)


def test_what_is_trained_is_still_needed(tmp_path):
    torch.save({"model": {"layer.weight": torch.zeros(8, 4)}}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match="expected at least 90% of the model's tensors in it, got"):
        AtomicCheckpointer(Guided()).load(str(tmp_path / "part.pth"))
    with pytest.raises(RuntimeError, match=r"Missing key.*layer\.bias"):
        load_saved_weights(Guided(), {"layer.weight": torch.zeros(8, 4)})


def test_trained_parameters_cannot_be_left_out():
    model = Guided()
    model.guide.layer.bias.requires_grad_(True)
    with pytest.raises(ValueError, match=r"frozen parameters in guide, .*trained ones: layer\."):
        saved_weights(model)
