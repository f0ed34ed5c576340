"""DCGAN, and the heads that its discriminator shares with others."""

import pytest
import torch
from torch import nn

from translate.nn import DCGANDiscriminatorConfig, DCGANGeneratorConfig
from translate.nn.blocks import BatchNorm, Conv2d, ConvTranspose2d, Tanh
from translate.nn.heads import Heads, MinibatchDeviation, MinibatchDiscrimination


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_those_of_the_published_implementation() -> None:
    """3 576 704 and 2 765 568 without the biases of the layers that no norm follows: 3, and 64 + 1."""
    assert count(DCGANGeneratorConfig().build(3, 64)) == 3_576_704 + 3
    assert count(DCGANDiscriminatorConfig().build(3, 64)) == 2_765_568 + 65


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_channels_double_as_the_side_halves(size: int) -> None:
    made = DCGANGeneratorConfig(width=2, latent=5).build(1, size)
    judge = DCGANDiscriminatorConfig(width=2).build(1, size)
    assert made(torch.randn(2, 5)).shape == (2, 1, size, size)
    assert judge(torch.randn(2, 1, size, size)).features.shape == (2, 2 * size // 8 * 16)  # at 4 x 4
    widths = [layer.out_channels for layer in judge.modules() if isinstance(layer, Conv2d)]
    assert widths == [2 << level for level in range(len(widths))]
    ups = [layer.in_channels for layer in made.modules() if isinstance(layer, ConvTranspose2d)]
    assert ups == [5, *reversed(widths)]


def test_the_five_guidelines() -> None:
    torch.manual_seed(0)
    made, judge = DCGANGeneratorConfig().build(3, 32), DCGANDiscriminatorConfig().build(3, 32)
    kinds = [[type(layer) for layer in network] for network in (made.model, judge.trunk)]
    up, down = [ConvTranspose2d, BatchNorm, nn.ReLU], [Conv2d, BatchNorm, nn.LeakyReLU]
    assert kinds == [[*up, *up, *up, ConvTranspose2d, Tanh], [Conv2d, nn.LeakyReLU, *down, *down]]
    assert all(layer.negative_slope == 0.2 for layer in judge.modules() if isinstance(layer, nn.LeakyReLU))
    for layer in (made.model[0], judge.trunk[2], judge.heads.logit):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_every_pixel_counts_and_every_pixel_is_made() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    DCGANDiscriminatorConfig(width=2, norm="none").build(1, 64)(images).logits.sum().backward()
    assert (images.grad != 0).all()
    network = DCGANGeneratorConfig(width=8, latent=3, norm="none").build(1, 32)
    assert (network(torch.ones(1, 3)) != network(-torch.ones(1, 3))).all()


def test_labels_are_further_maps_of_the_input() -> None:
    torch.manual_seed(0)
    judge = DCGANDiscriminatorConfig(width=2, norm="none", condition="concatenate").build(3, 16, classes=4)
    images, label = torch.randn(2, 3, 16, 16), torch.tensor([3, 1])
    maps = torch.zeros(2, 4, 16, 16)
    maps[0, 3] = maps[1, 1] = 1
    features = judge.trunk(torch.cat([images, maps], 1)).flatten(1)
    torch.testing.assert_close(judge(images, label).features, features)


def test_projection_by_hand() -> None:
    """Miyato & Koyama 2018, eq. 3: v_y · φ + ψ(φ)."""
    torch.manual_seed(0)
    heads, features, label = Heads(3, "projection", 2), torch.randn(2, 3), torch.tensor([1, 0])
    v, w, b = heads.projection.weight, heads.logit.weight[0], heads.logit.bias[0]
    expected = torch.stack([v[1] @ features[0] + w @ features[0] + b, v[0] @ features[1] + w @ features[1] + b])
    torch.testing.assert_close(heads(features, label).logits, expected[:, None])
    assert v.abs().max() <= (6 / 5) ** 0.5  # Xavier: √(6 / (2 + 3))


def test_auxiliary_classes_stand_beside_the_logit() -> None:
    heads, features = Heads(3, "auxiliary", 5), torch.randn(2, 3)
    output = heads(features, None)
    torch.testing.assert_close(output.classes, heads.classes(features))
    torch.testing.assert_close(output.logits, heads.logit(features))


def test_minibatch_deviation_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]]], [[[3.0, 2.0]], [[0.0, 4.0]]]])  # [2, 2, 1, 2]
    out = MinibatchDeviation()(x)
    assert torch.equal(out[:, :2], x)
    torch.testing.assert_close(out[:, 2], torch.full((2, 1, 2), (1 + 0 + 0 + 2) / 4), atol=1e-4, rtol=0)
    assert MinibatchDeviation()(x[:1])[:, 2].abs().max() < 1e-3  # one image does not deviate
    assert MinibatchDeviation()(torch.randn(4, 7)).shape == (4, 8)


def test_minibatch_discrimination_by_hand() -> None:
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(3), torch.randn(3, 3)
    rows = (x @ layer.tensor.weight.T).view(3, 100, 5)
    out = layer(x)
    assert torch.equal(out[:, :3], x)
    for i, (j, k) in enumerate([(1, 2), (0, 2), (0, 1)]):
        closeness = sum(torch.exp(-(rows[i] - rows[other]).abs().sum(1)) for other in (j, k))
        torch.testing.assert_close(out[i, 3:], closeness)
    alike = layer(x[:1].repeat(4, 1))[:, 3:]
    torch.testing.assert_close(alike, torch.full((4, 100), 3.0))  # a collapsed batch cannot be overlooked
