import pytest
import torch
import torch.nn.functional as F
from torch import nn

from translate.nn import ProgressiveDiscriminatorConfig, ProgressiveGeneratorConfig
from translate.nn.blocks import Conv2d
from translate.nn.progressive import PixelNorm, ProgressiveDiscriminator, ProgressiveGenerator, equalised


@pytest.fixture
def generator() -> ProgressiveGenerator:
    torch.manual_seed(0)
    return ProgressiveGeneratorConfig(latent=6, width=8, base=64).build(3, 32)


@pytest.fixture
def discriminator() -> ProgressiveDiscriminator:
    torch.manual_seed(0)
    return ProgressiveDiscriminatorConfig(width=8, base=64).build(3, 32)


def test_parameters_are_the_paper_s() -> None:
    """Table 2: 23.1 million each at 1024 x 1024."""
    with torch.device("meta"):
        networks = [
            ProgressiveGeneratorConfig().build(3, 1024),
            ProgressiveDiscriminatorConfig().build(3, 1024),
        ]
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert [round(number / 1e6, 1) for number in counts] == [23.1, 23.1]
    widths = [block[1].out_channels for block in networks[0].blocks]
    assert widths == [512, 512, 512, 256, 128, 64, 32, 16]
    assert networks[0].start[1].out_channels == 512


def test_equalised_learning_rate() -> None:
    """Weights are N(0, 1) for the optimiser, N(0, 2/fan-in) for the input: the variance passes a ReLU unchanged."""
    torch.manual_seed(0)
    layer = equalised(Conv2d(64, 96, 3, padding=1))
    (stored,) = [p for name, p in layer.named_parameters() if "weight" in name]
    assert stored.var().item() == pytest.approx(1, rel=0.02)
    assert layer.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.02)
    torch.testing.assert_close(layer.weight, stored * (2 / 576) ** 0.5)
    assert not layer.bias.any()
    x = F.relu(torch.randn(8, 64, 16, 16)) * 2**0.5  # mean square 1
    assert layer(x)[:, :, 1:-1, 1:-1].var().item() == pytest.approx(2, rel=0.05)
    out = equalised(Conv2d(64, 3, 1), gain=1)
    assert out.weight.var().item() == pytest.approx(1 / 64, rel=0.15)


def test_every_layer_is_equalised(generator: nn.Module, discriminator: nn.Module) -> None:
    for network in (generator, discriminator):
        layers = [layer for layer in network.modules() if hasattr(layer, "bias") and layer.bias is not None]
        names = [name for name, _ in network.named_parameters() if name.endswith("weight.original")]
        assert len(layers) == len(names) > 8
    first = generator.start[1]  # 4 x 4 from one place: He's constant counts 16 Z inputs, as in the paper
    stored = first.parametrizations.weight.original
    torch.testing.assert_close(first.weight, stored * (2 / (16 * 6)) ** 0.5)
    torch.testing.assert_close(
        discriminator.heads.logit.weight, discriminator.heads.logit.parametrizations.weight.original / 8**0.5
    )


def test_pixel_norm() -> None:
    x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(PixelNorm()(x).flatten(), torch.tensor([3.0, 4.0]) / 12.5**0.5)
    x = torch.randn(2, 5, 3, 3) * 7
    torch.testing.assert_close(PixelNorm()(x).square().mean(1), torch.ones(2, 3, 3))
    assert torch.isfinite(PixelNorm()(torch.zeros(1, 4, 2, 2))).all()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_each_stage_has_its_size(generator: nn.Module, discriminator: nn.Module, stage: int) -> None:
    generator.stage = discriminator.stage = stage
    made = generator(torch.randn(2, 6))
    assert made.shape == (2, 3, 4 << stage, 4 << stage)
    assert discriminator(made).logits.shape == (2, 1)
    assert "stage" not in generator.state_dict()
    assert generator.alpha == 1


@pytest.mark.parametrize("stage", [1, 3])
def test_a_fading_generator_is_between_its_neighbours(generator: nn.Module, stage: int) -> None:
    z = torch.randn(2, 6)

    def made(stage: int, alpha: float) -> torch.Tensor:
        generator.stage, generator.alpha = stage, alpha
        return generator(z).detach()

    old = made(stage - 1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    new = made(stage, 1)
    assert torch.equal(made(stage, 0), old)
    torch.testing.assert_close(made(stage, 1 - 1e-7), new)
    torch.testing.assert_close(made(stage, 0.25), 0.75 * old + 0.25 * new)
    assert (old - new).abs().max() > 0.1


@pytest.mark.parametrize("stage", [1, 3])
def test_a_fading_discriminator_is_between_its_neighbours(discriminator: nn.Module, stage: int) -> None:
    images = torch.randn(3, 3, 4 << stage, 4 << stage)

    def judged(stage: int, alpha: float, images: torch.Tensor) -> torch.Tensor:
        discriminator.stage, discriminator.alpha = stage, alpha
        return discriminator(images).logits.detach()

    old = judged(stage - 1, 1, F.avg_pool2d(images, 2))
    new = judged(stage, 1, images)
    assert torch.equal(judged(stage, 0, images), old)
    torch.testing.assert_close(judged(stage, 1 - 1e-7, images), new)
    assert (old - new).abs().max() > 1e-3
    half = judged(stage, 0.5, images)
    discriminator.stage, discriminator.alpha = stage, 1
    faded = discriminator.blocks[stage - 1](discriminator.from_rgb[stage](images))
    faded = (faded + discriminator.from_rgb[stage - 1](F.avg_pool2d(images, 2))) / 2
    for below in range(stage - 1, 0, -1):
        faded = discriminator.blocks[below - 1](faded)
    torch.testing.assert_close(half, discriminator.heads.logit(discriminator.finish(faded)))


def test_layers_that_have_faded_out_get_no_gradient(generator: nn.Module) -> None:
    generator.stage = 2
    generator(torch.randn(2, 6)).sum().backward()
    moved = [layer.bias.grad is not None for layer in generator.to_rgb]
    assert moved == [False, False, True, False]


def test_latents_are_put_on_the_sphere(generator: nn.Module) -> None:
    z = torch.randn(2, 6)
    torch.testing.assert_close(generator(z), generator(3 * z), atol=1e-3, rtol=0)


def test_deployed_pictures_are_in_range(generator: nn.Module) -> None:
    z = torch.randn(64, 6)
    free = generator(z)
    assert free.abs().max() > 1
    torch.testing.assert_close(generator.eval()(z), free.clamp(-1, 1))
