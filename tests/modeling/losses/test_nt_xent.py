"""NT-Xent of one process; of two, see meta_arch/test_pretrain_processes.py."""

import math

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss
from torch.nn import functional as F

from fastreid_ext.modeling.losses import nt_xent_loss


def views_of(dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return F.normalize(torch.randn(2, 8, 16, generator=generator), dim=2).to(dtype)


def test_nt_xent_equals_pytorch_metric_learning():
    theirs = SelfSupervisedLoss(NTXentLoss(temperature=0.3))(*views_of())
    torch.testing.assert_close(nt_xent_loss(views_of(), 0.3), theirs)


def test_nt_xent_of_equal_images_is_the_logarithm_of_their_number():
    loss = nt_xent_loss(torch.ones(2, 5, 3), 0.1)
    assert float(loss) == pytest.approx(math.log(2 * 5 - 1))


def test_nt_xent_gradcheck():
    views = views_of(torch.float64).requires_grad_()
    torch.autograd.gradcheck(lambda views: nt_xent_loss(views, 0.5), views)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nt_xent_in_half_precision_is_near_float64(dtype):
    views = views_of(dtype)
    loss = nt_xent_loss(100 * views, 0.3)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(nt_xent_loss(views.double(), 0.3)), rel=0.01)


def test_nt_xent_does_not_depend_on_order():
    views = views_of()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(nt_xent_loss(views[:, order].flip(0), 0.3), nt_xent_loss(views, 0.3))
