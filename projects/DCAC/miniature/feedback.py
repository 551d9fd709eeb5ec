r"""Measure how strong the feedback of a diffusion branch is: its part of the encoder's gradient.

    python -m projects.DCAC.miniature.feedback \
        --config-file projects/DCAC/miniature/configs/DCAC.yml

Trains a recipe, and then compares, batch by batch, the gradient of the denoising loss with that of
the other losses, with respect to the parameters of the backbone: their lengths, and the cosine
between them. It also says how sure the condition is: the mean largest probability of an identity.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.utils.events import EventStorage
from torch import Tensor, nn

from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer
from fastreid_ext.engine.setup import keep_configuration, prepare_run

FEEDBACK = "loss_diffusion"


def measure(trainer: Trainer, batches: int) -> dict[str, float]:
    """Average over training batches, with the weights that the trainer has.

    Args:
        trainer: trainer of a recipe with ``MODEL.DIFFUSION``.
        batches: number of batches to average over.

    Returns:
        ``ratio``: length of the gradient of the denoising loss over that of all other losses;
        ``cosine`` between the two; ``largest_probability`` of an identity in the condition.
    """
    model = trainer.model.train()
    probabilities: list[float] = []
    condition = model.diffusion_branch.condition
    hook = condition.register_forward_pre_hook(
        lambda _, inputs: probabilities.append(_largest(inputs[0], condition.temperature))
    )
    found = []
    loader = iter(trainer.data_loader)
    with EventStorage():
        for _ in range(batches):
            found.append(compared(model, next(loader)))
    hook.remove()
    return {
        "ratio": statistics.fmean(ratio for ratio, _ in found),
        "cosine": statistics.fmean(cosine for _, cosine in found),
        "largest_probability": statistics.fmean(probabilities),
    }


def compared(model: nn.Module, batch: Mapping[str, Any]) -> tuple[float, float]:
    """Compare the two gradients of a batch: ratio of lengths, and cosine."""
    losses = model(batch)
    feedback = _gradient(losses.pop(FEEDBACK), model.backbone)
    others = _gradient(sum(losses.values()), model.backbone)
    ratio = feedback.norm() / others.norm()
    cosine = torch.nn.functional.cosine_similarity(feedback, others, dim=0)
    return ratio.item(), cosine.item()


def _gradient(loss: Tensor, part: nn.Module) -> Tensor:
    parameters = [p for p in part.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            torch.zeros(parameter.numel()) if gradient is None else gradient.flatten()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _largest(logits: Tensor, temperature: float) -> float:
    return (logits.detach() / temperature).softmax(dim=1).amax(dim=1).mean().item()


def main(args: argparse.Namespace) -> None:
    cfg = prepare_run(load_config(args.config_file, args.opts))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    keep_configuration(trainer.cfg)  # tools/plot.py reads it
    before = measure(trainer, args.batches)
    trainer.train()
    after = measure(trainer, args.batches)
    for name, values in (("before training", before), ("after training", after)):
        print(name, ", ".join(f"{key} {value:.4g}" for key, value in values.items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="recipe with MODEL.DIFFUSION")
    parser.add_argument("--batches", type=int, default=10, help="batches to average over")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to change")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
