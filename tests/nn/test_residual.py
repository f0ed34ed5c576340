import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from translate.errors import ConfigError
from translate.nn import ResidualDiscriminatorConfig, ResidualGeneratorConfig
from translate.nn.blocks import BatchNorm
from translate.nn.residual import ConditionalBatchNorm, DiscriminatorBlock, GeneratorBlock


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_those_of_sn_gan_for_cifar_10() -> None:
    def convolution(a: int, b: int, k: int) -> int:
        return a * b * k * k + b

    block = 2 * convolution(256, 256, 3) + convolution(256, 256, 1) + 2 * 512  # two norms
    assert count(ResidualGeneratorConfig().build(3, 32)) == 129 * 4096 + 3 * block + 512 + convolution(256, 3, 3)
    first = convolution(3, 128, 3) + convolution(128, 128, 3) + convolution(3, 128, 1)
    plain = 2 * convolution(128, 128, 3)
    judge = first + plain + convolution(128, 128, 1) + 2 * plain + 129
    assert count(ResidualDiscriminatorConfig().build(3, 32)) == judge
    assert count(ResidualDiscriminatorConfig(condition="projection").build(3, 32, 10)) == judge + 1280
    # each of six norms: a gain and a bias of each class instead of one
    conditional = ResidualGeneratorConfig(condition="batch_norm").build(3, 32, 10)
    assert count(conditional) == count(ResidualGeneratorConfig().build(3, 32)) + 6 * 9 * 512


def test_conditional_batch_norm_of_two_classes() -> None:
    torch.manual_seed(0)
    layer, x = ConditionalBatchNorm(2, 2), torch.randn(4, 2, 3, 3) * 3 + 1
    with torch.no_grad():
        layer.gain.weight.copy_(torch.tensor([[0.0, 1.0], [-1.0, 2.0]]))
        layer.bias.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, -2.0]]))
    label = torch.tensor([0, 1, 1, 0])
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    normal = (x - mean) / (variance + 1e-5).sqrt()  # over the whole batch, of whatever class
    gain = torch.tensor([[1.0, 2.0], [0.0, 3.0]])[label][:, :, None, None]
    bias = torch.tensor([[0.5, 0.0], [0.0, -2.0]])[label][:, :, None, None]
    torch.testing.assert_close(layer(x, label), gain * normal + bias)
    layer.eval()
    running = (x - layer.norm.running_mean[:, None, None]) / (layer.norm.running_var[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(layer(x, label), gain * running + bias)


def test_classes_start_alike() -> None:
    """Gains 1 and biases 0: a new conditional generator is the unconditional one."""
    networks = []
    for condition in ("none", "batch_norm"):
        torch.manual_seed(0)
        networks.append(ResidualGeneratorConfig(latent=4, widths=(4, 4), condition=condition).build(1, 8, 3))
    networks[1].load_state_dict(networks[0].state_dict() | {
        key: value for key, value in networks[1].state_dict().items() if key not in networks[0].state_dict()
    }, strict=False)  # fmt: skip
    z = torch.randn(3, 4)
    torch.testing.assert_close(networks[1](z, torch.arange(3)), networks[0](z))


def test_shares_of_z_reach_their_own_block() -> None:
    torch.manual_seed(0)
    config = ResidualGeneratorConfig(latent=6, widths=(4, 4, 4), condition="batch_norm", shared_embedding=5)
    network = config.build(1, 16, 3)
    assert network.start.in_features == 2
    norms = [layer for layer in network.modules() if isinstance(layer, ConditionalBatchNorm)]
    assert [layer.gain.in_features for layer in norms] == [7] * 4
    seen = []
    for block in network.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    z, label = torch.arange(12.0).view(2, 6), torch.tensor([2, 0])
    network(z, label)
    embedded = network.shared(label)
    for code, share in zip(seen, (z[:, 2:4], z[:, 4:6]), strict=True):
        assert torch.equal(code, torch.cat([embedded, share], 1))


def test_blocks_are_the_paper_s() -> None:
    """Upsampling before, and pooling after, the shortcut's 1 x 1 convolution."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    block = GeneratorBlock(3, 5, BatchNorm(3), BatchNorm(5))
    up = nn.UpsamplingNearest2d(scale_factor=2)
    h = block.conv2(F.relu(block.norm2(block.conv1(up(F.relu(block.norm1(x)))))))
    torch.testing.assert_close(block(x, None), h + block.shortcut(up(x)))
    for first in (True, False):
        block = DiscriminatorBlock(3, 5, first=first, down=True)
        assert block.conv1.out_channels == (5 if first else 3)
        h = block.conv2(F.relu(block.conv1(x if first else F.relu(x))))
        torch.testing.assert_close(block(x), F.avg_pool2d(h + block.shortcut(x), 2))
    block = DiscriminatorBlock(3, 3, first=False, down=False)
    assert isinstance(block.shortcut, nn.Identity)
    torch.testing.assert_close(block(x), x + block.conv2(F.relu(block.conv1(F.relu(x)))))


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_pooling(pooling: str) -> None:
    judge = ResidualDiscriminatorConfig(widths=(2, 2), down=2, pooling=pooling).build(1, 32)
    x = torch.randn(2, 1, 32, 32)
    maps = judge.trunk[:-1](x)  # [2, 2, 8, 8]
    assert maps.shape == (2, 2, 8, 8)
    torch.testing.assert_close(judge(x).features, maps.sum((2, 3)) / (64 if pooling == "mean" else 1))


def test_every_pixel_counts() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    ResidualDiscriminatorConfig(widths=(4, 4, 4, 4, 4), down=4).build(1, 64)(images).logits.sum().backward()
    assert (images.grad != 0).all()


def test_initial_weights() -> None:
    torch.manual_seed(0)
    network = ResidualGeneratorConfig(widths=(64, 64)).build(3, 8)
    block = network.blocks[0]
    bounds = {
        math.sqrt(2) * math.sqrt(6 / (2 * 64 * 9)): block.conv1.weight,
        math.sqrt(6 / (2 * 64)): block.shortcut.weight,
        math.sqrt(6 / (67 * 9)): network.finish[2].weight,
        math.sqrt(6 / (128 + 1024)): network.start.weight,
    }
    for bound, weight in bounds.items():
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    judge = ResidualDiscriminatorConfig(widths=(8, 8), initialisation="orthogonal").build(3, 16)
    for layer in judge.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows = layer.weight.flatten(1)
            rows = rows if len(rows) <= rows.shape[1] else rows.T
            torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)
            assert not layer.bias.any()


def test_mistakes_are_named() -> None:
    with pytest.raises(ValidationError, match="set condition: batch_norm"):
        ResidualGeneratorConfig(shared_embedding=4)
    with pytest.raises(ValidationError, match="latent: with shared_embedding, a multiple of 3"):
        ResidualGeneratorConfig(latent=8, widths=(4, 4, 4), condition="batch_norm", shared_embedding=4)
    with pytest.raises(ValidationError, match="3 blocks shall halve the picture, and widths has 2"):
        ResidualDiscriminatorConfig(widths=(4, 4), down=3)
    with pytest.raises(ConfigError, match=r"recipe.generator.widths: these make 32 x 32 pixels; the data have 64"):
        ResidualGeneratorConfig().build(3, 64)
    with pytest.raises(ConfigError, match=r"recipe.discriminator.down: 30 pixels a side cannot be halved 2 times"):
        ResidualDiscriminatorConfig().build(3, 30)
    with pytest.raises(ConfigError, match=r"'batch_norm' needs labelled data"):
        ResidualGeneratorConfig(condition="batch_norm").build(3, 32)
    with pytest.raises(ConfigError, match=r"recipe.discriminator.attention: no feature map is 32 .*\[8, 8, 8, 16\]"):
        ResidualDiscriminatorConfig(attention=32).build(3, 32)
