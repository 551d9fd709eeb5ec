"""StripeHead: which rows of the map each feature sees."""

import torch
import torch.nn.functional as F

from fastreid_ext.modeling.heads import StripeHead

C = 6


def head_of(**settings) -> StripeHead:
    torch.manual_seed(0)
    return StripeHead(feat_dim=C, num_classes=5, **settings)


def test_features_are_means_of_the_map_and_of_its_stripes_after_their_necks():
    head = head_of().eval()
    for number, branch in enumerate(head.branches()):
        branch.neck.running_mean.fill_(number)
    maps = torch.rand(2, C, 24, 8)
    found = head.all_features(maps)
    scale = (1 + head.global_head.neck.eps) ** 0.5
    expected = [maps, maps[:, :, :8], maps[:, :, 8:16], maps[:, :, 16:]]
    for number, part in enumerate(expected):
        mean = (part.mean(dim=(2, 3)) - number) / scale
        torch.testing.assert_close(found[number], mean)
    assert torch.equal(head(maps), found[0])  # evaluation sees the whole map alone


def test_logits_are_products_with_rows_of_the_own_classifier():
    head = head_of().train()
    outputs = head(torch.rand(3, C, 6, 2))
    assert [name for name, _ in head.named_parameters() if name.endswith("head.weight")] == [
        *("global_head.weight", "part1_head.weight", "part2_head.weight", "part3_head.weight")
    ]
    for feature, logits, branch in zip(*outputs.values(), head.branches(), strict=True):
        torch.testing.assert_close(logits, F.linear(feature, branch.weight))


def test_statistics_are_those_of_each_stripe():
    head = head_of().train()
    maps = torch.zeros(4, C, 6, 2)
    maps[:, :, 4:] = 5.0
    head(maps)
    means = [branch.neck.running_mean[0].item() for branch in head.branches()]
    torch.testing.assert_close(torch.tensor(means), torch.tensor([1 / 6, 0, 0, 0.5]))


def test_biases_of_the_necks_stay():
    trained = {name for name, p in head_of().named_parameters() if p.requires_grad}
    assert not any(name.endswith("neck.bias") for name in trained)
    assert "part3_head.neck.weight" in trained
    assert len(head_of(parts=5).branches()) == 6
