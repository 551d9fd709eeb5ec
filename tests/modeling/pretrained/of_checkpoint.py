"""Compare a loaded backbone with the checkpoint of our pre-training that it was loaded from."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.pretrained import LoadReport


def expect_backbone_of(
    report: LoadReport, backbone: nn.Module, weights: Mapping[str, Tensor]
) -> None:
    """Check that a whole backbone, but for new non-local blocks, is the checkpoint's."""
    assert (report.family, report.matching.share) == ("fastreid", 1.0)
    assert not report.missing + report.unexpected + report.reshaped + report.warnings
    # Non-local blocks, which AGW and SBS add, are new.
    assert all("NL_" in name for name in report.matching.new)
    ours = backbone.state_dict()
    assert report.matched
    assert all(torch.equal(ours[name], weights[f"backbone.{name}"]) for name in report.matched)
