"""Files beside checkpoints with what only a resumed run needs; kills, losses and damages."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.engine import checkpoint
from fastreid_ext.engine.checkpoint import AtomicCheckpointer, read_checkpoint
from fastreid_ext.engine.saved_weights import load_training_weights, saved_weights, training_weights


class Frozen(nn.Module):
    """A frozen network of another file inside the branch."""

    left_out_of_checkpoints = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("scale", torch.ones(1))


class Branch(nn.Module):
    """A part that is only for training, itself partly frozen."""

    only_for_training = True

    def __init__(self, identities: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(identities, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.autoencoder = Frozen()


class Net(nn.Module):
    """A model with such a branch."""

    def __init__(self, identities: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.branch = Branch(identities)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.branch.norm(self.layer(features)) @ self.branch.prompts.T
        return mixed.square().mean()


OF_THE_BRANCH = {
    "branch.prompts",
    *(f"branch.norm.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    "branch.norm.num_batches_tracked",
}


class Run:
    """A model, its optimizer and its checkpointer."""

    def __init__(self, folder: Path, identities: int = 3, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = Net(identities)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=0.1)
        self.checkpointer = AtomicCheckpointer(self.model, str(folder), optimizer=self.optimizer)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.rand(8, 4)).backward()
        self.optimizer.step()

    def save(self, name: str, iteration: int, *, tag: bool = True) -> None:
        self.checkpointer.save(name, tag=tag, iteration=iteration)

    def resume(self) -> dict:
        return self.checkpointer.resume()

    def state(self) -> dict[str, Tensor]:
        """Copy what training changes, moments of the optimizer included."""
        weights = saved_weights(self.model) | training_weights(self.model)
        moments = {
            f"{index}.{name}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return {name: value.clone() for name, value in (weights | moments).items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def companions(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.training.pt"))


def test_checkpoint_names_a_file_with_the_branch_and_the_optimizer(tmp_path):
    run = Run(tmp_path)
    run.step()
    run.save("model_0000", 5)
    main = read_checkpoint(tmp_path / "model_0000.pth")
    assert main["model"].keys() == {"layer.weight", "layer.bias"}
    assert main.keys() == {"model", "iteration", "training_file"}
    assert companions(tmp_path) == [main["training_file"]] == ["model_0000.5.training.pt"]
    apart = read_checkpoint(tmp_path / main["training_file"])
    assert apart.keys() == {"model", "optimizer"}
    assert apart["model"].keys() == OF_THE_BRANCH


def test_resumed_run_goes_on_exactly(tmp_path):
    run = Run(tmp_path)
    run.step()
    run.save("model_0000", 5)
    other = Run(tmp_path, seed=1)
    frozen = other.model.branch.frozen.weight.clone()
    assert other.resume() == {"iteration": 5}
    assert_same(other.state(), run.state())
    assert torch.equal(other.model.branch.frozen.weight, frozen)
    for each in (run, other):
        torch.manual_seed(2)
        each.step()
    assert_same(other.state(), run.state())


def test_model_without_the_branch_loads_the_checkpoint_alone(tmp_path):
    run = Run(tmp_path)
    run.save("model_0000", 5)
    (tmp_path / "model_0000.5.training.pt").unlink()
    other = Net()
    del other.branch
    AtomicCheckpointer(other, min_matched=1.0).load(str(tmp_path / "model_0000.pth"))
    assert torch.equal(other.layer.weight, run.model.layer.weight)


def test_model_without_such_parts_has_one_file(tmp_path):
    net = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    AtomicCheckpointer(net, str(tmp_path), optimizer=optimizer).save("model_0000", iteration=5)
    assert read_checkpoint(tmp_path / "model_0000.pth").keys() == {
        "model",
        "optimizer",
        "iteration",
    }
    assert companions(tmp_path) == []


def test_checkpoint_that_is_not_resumed_from_has_no_file_beside_it(tmp_path):
    run = Run(tmp_path)
    run.save("model_best", 5, tag=False)
    assert companions(tmp_path) == []
    assert read_checkpoint(tmp_path / "model_best.pth").keys() == {"model", "iteration"}


def test_later_checkpoint_of_a_name_replaces_both_files_and_no_others(tmp_path):
    run = Run(tmp_path)
    run.save("model_0000", 5)
    run.save("model_latest", 11)
    run.save("model_latest", 17)
    assert companions(tmp_path) == ["model_0000.5.training.pt", "model_latest.17.training.pt"]
    run.checkpointer.remove("model_latest")
    assert companions(tmp_path) == ["model_0000.5.training.pt"]
    assert not (tmp_path / "model_latest.pth").exists()


@pytest.mark.parametrize("name", ["model_latest", "model_0001"])
@pytest.mark.parametrize("dies_at", [".training.pt", ".pth", "last_checkpoint"])
def test_run_that_dies_while_saving_resumes_exactly(tmp_path, monkeypatch, name, dies_at):
    """From the older pair of files, or from the newer where both were written."""
    run = Run(tmp_path)
    run.step()
    run.save("model_latest", 5)
    before = run.state()
    run.step()
    after = run.state()
    with monkeypatch.context() as patch:
        for function in ("atomic_write", "atomic_write_text"):
            real = getattr(checkpoint, function)
            patch.setattr(checkpoint, function, dying(real, dies_at))
        with pytest.raises(KeyboardInterrupt):
            run.save(name, 11)
    other = Run(tmp_path, seed=1)
    # The name in last_checkpoint was written for the older file of the same name.
    is_newer = name == "model_latest" and dies_at == "last_checkpoint"
    assert other.resume() == {"iteration": 11 if is_newer else 5}
    assert_same(other.state(), after if is_newer else before)
    other.save(name, 11)
    assert len(list(tmp_path.glob(f"{name}.*.training.pt"))) == 1


def dying(write, suffix: str):
    """Return a function that ends the run before a file of this suffix is written."""

    def dies(path, *args, **kwargs):
        if str(path).endswith(suffix):
            raise KeyboardInterrupt
        return write(path, *args, **kwargs)

    return dies


def test_missing_file_beside_a_checkpoint_is_named(tmp_path):
    Run(tmp_path).save("model_0000", 5)
    (tmp_path / "model_0000.5.training.pt").unlink()
    expected = r"expected model_0000\.5\.training\.pt beside .*model_0000\.pth, .*MODEL\.WEIGHTS"
    with pytest.raises(FileNotFoundError, match=expected):
        Run(tmp_path).resume()


def test_damaged_file_beside_a_checkpoint_is_named(tmp_path):
    Run(tmp_path).save("model_0000", 5)
    path = tmp_path / "model_0000.5.training.pt"
    path.write_bytes(path.read_bytes()[:900])
    expected = r"cannot read checkpoint .*model_0000\.5\.training\.pt \(900 bytes\).*cut off"
    with pytest.raises(ValueError, match=expected):
        Run(tmp_path).resume()


def test_file_of_other_identities_is_refused_and_nothing_loaded(tmp_path):
    Run(tmp_path, identities=3).save("model_0000", 5)
    other = Run(tmp_path, identities=7)
    before = other.state()
    expected = (
        r"expected the 6 tensors .*got 1 that differ, e\.g\. branch\.prompts of shape \(3, 4\) "
        r"instead of \(7, 4\); were keys of MODEL\.DIFFUSION or the training identities changed\?"
    )
    with pytest.raises(ValueError, match=expected):
        other.resume()
    assert_same(other.state(), before)


def test_file_of_another_branch_is_refused():
    weights = dict(training_weights(Net()))
    del weights["branch.prompts"]
    weights["branch.adapter"] = torch.zeros(2)
    expected = r"got 2 that differ, e\.g\. branch\.adapter of shape \(2,\) instead of none"
    with pytest.raises(ValueError, match=expected):
        load_training_weights(Net(), weights)


def test_nan_in_the_branch_is_not_saved(tmp_path):
    run = Run(tmp_path)
    run.save("model_0000", 5)
    with torch.no_grad():
        run.model.branch.prompts[1] = torch.nan
    with pytest.raises(FloatingPointError, match=r"branch\.prompts.*last good one is .*model_0000"):
        run.save("model_0001", 11)
    assert companions(tmp_path) == ["model_0000.5.training.pt"]
