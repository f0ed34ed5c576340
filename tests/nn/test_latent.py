"""What all generators from noise and their discriminators have in common; each one's own numbers are in its own test."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from translate.adversarial import SpectralNorm
from translate.errors import ConfigError
from translate.nn import ImageDiscriminator, LatentGenerator
from translate.nn.blocks import Conv2d
from translate.nn.latent import LabelledLatent, SelfAttention, doublings, normalise_spectrally
from translate.nn.precision import full_precision, set_precision

CLASSES = 3
SMALL: dict[str, dict[str, Any]] = {
    "dcgan": {"latent": 6, "width": 4},
    "residual": {"latent": 8, "widths": [8, 8, 8]},
    "progressive": {"latent": 6, "width": 8, "base": 64},
    "mlp": {"latent": 2, "width": 8, "layers": 2},
}
GENERATORS: list[dict[str, Any]] = [
    *({"kind": kind} for kind in SMALL),
    *({"kind": "dcgan", "condition": condition} for condition in ("concatenate", "multiply")),
    *({"kind": "dcgan", "norm": norm} for norm in ("instance", "group", "none")),
    {"kind": "dcgan", "attention": 4, "spectral_norm": True},
    {"kind": "residual", "condition": "batch_norm"},
    {"kind": "residual", "attention": 8, "spectral_norm": True, "initialisation": "orthogonal"},
    {"kind": "residual", "latent": 9, "condition": "batch_norm", "shared_embedding": 5, "spectral_norm": True},
    {"kind": "progressive", "condition": "concatenate"},
    {"kind": "mlp", "condition": "concatenate"},
]
JUDGES: dict[str, dict[str, Any]] = {
    "dcgan": {"width": 4, "norm": "none"},
    "residual": {"widths": [8, 8, 8]},
    "progressive": {"width": 8, "base": 64},
    "autoencoder": {"width": 4, "layers": 2, "norm": "none"},
    "mlp": {"width": 8, "layers": 2},
}
DISCRIMINATORS: list[dict[str, Any]] = [
    *({"kind": kind} for kind in JUDGES),
    *({"kind": "dcgan", "condition": condition} for condition in ("concatenate", "projection", "auxiliary")),
    *({"kind": "dcgan", "minibatch": minibatch} for minibatch in ("discrimination", "deviation")),
    *({"kind": "dcgan", "norm": norm, "attention": 8} for norm in ("batch", "instance", "group")),
    {"kind": "residual", "condition": "projection", "attention": 4, "initialisation": "orthogonal"},
    {"kind": "residual", "condition": "auxiliary", "minibatch": "deviation", "pooling": "mean"},
    {"kind": "progressive", "condition": "auxiliary"},
    {"kind": "autoencoder", "norm": "batch"},
    {"kind": "mlp", "condition": "concatenate", "minibatch": "discrimination"},
]


def named(options: dict[str, Any]) -> str:
    return "-".join(str(value) for value in options.values())


generators = pytest.mark.parametrize("options", GENERATORS, ids=named)
discriminators = pytest.mark.parametrize("options", DISCRIMINATORS, ids=named)
formats = pytest.mark.parametrize(
    ("dtype", "layout"),
    [(None, torch.contiguous_format), (torch.bfloat16, torch.channels_last)],
    ids=["fp32", "bf16"],
)


def generator(options: dict[str, Any], size: int = 16) -> nn.Module:
    torch.manual_seed(0)
    config = TypeAdapter(LatentGenerator).validate_python(SMALL[options["kind"]] | options)
    network = config.build(3, size, CLASSES)
    network.latents = config.latent
    return network


def discriminator(options: dict[str, Any], size: int = 16) -> nn.Module:
    torch.manual_seed(0)
    config = TypeAdapter(ImageDiscriminator).validate_python(JUDGES[options["kind"]] | options)
    return config.build(3, size, CLASSES)


def labels(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


def wake(network: nn.Module) -> None:
    """Out of the special start: attention at γ = 0, a progressive network at its last stage."""
    for module in network.modules():
        if isinstance(module, SelfAttention):
            nn.init.constant_(module.gamma, 0.5)
    if hasattr(network, "stage"):
        network.stage, network.alpha = 1, 0.5


def assert_every_parameter_learns(network: nn.Module) -> None:
    later = ("blocks.1", "rgb.2")  # stage 2 of a progressive network, which stands at stage 1
    for name, parameter in network.named_parameters():
        if hasattr(network, "stage") and any(part in name for part in later):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


@formats
@pytest.mark.parametrize("count", [1, 2])
@generators
def test_a_generator_makes_pictures_and_learns(
    options: dict[str, Any], count: int, dtype: torch.dtype | None, layout: torch.memory_format
) -> None:
    network = generator(options).to(memory_format=layout)
    wake(network)
    set_precision(network, dtype)
    side = 8 if hasattr(network, "stage") else 16
    made = network(torch.randn(count, network.latents), labels(count))
    assert made.shape == (count, 3, side, side)
    assert made.dtype == torch.float32
    (made - 0.3).square().mean().backward()
    assert_every_parameter_learns(network)
    shown = network.eval()(torch.randn(count, network.latents), labels(count))
    assert torch.isfinite(shown).all()
    assert shown.abs().max() <= 1


@generators
def test_lower_precision_stays_close(options: dict[str, Any]) -> None:
    network = generator(options).eval()
    z = torch.randn(4, network.latents)
    exact = network(z, labels(4))
    set_precision(network, torch.bfloat16)
    rough = network(z, labels(4))
    assert (rough - exact).norm() < 0.03 * exact.norm()
    with full_precision(network):
        assert torch.equal(network(z, labels(4)), exact)


@generators
def test_a_generator_can_be_copied_and_saved(options: dict[str, Any]) -> None:
    network = generator(options)
    network(torch.randn(4, network.latents), labels(4))  # moves running statistics and singular vectors
    network.eval()
    z = torch.randn(2, network.latents)
    made = network(z, labels(2))
    other = generator(options).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(z, labels(2)), made)
    assert torch.equal(copy.deepcopy(network)(z, labels(2)), made)


@pytest.mark.parametrize("options", [GENERATORS[index] for index in (9, 12, 13)], ids=named)
def test_a_generator_can_be_exported(options: dict[str, Any]) -> None:
    """Label, attention, spectral norm, equalised weights; for any number of samples."""
    network = generator(options).eval()
    arguments = (torch.randn(6, network.latents), labels(6))[: 2 if "condition" in options else 1]
    few = tuple(argument[:2] for argument in arguments)
    program = torch.export.export(network, few, dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in few))
    torch.testing.assert_close(program.module()(*arguments), network(*arguments))


@pytest.mark.parametrize("options", [o for o in GENERATORS if o.get("condition", "none") != "none"], ids=named)
def test_the_class_changes_the_picture(options: dict[str, Any]) -> None:
    network = generator(options)
    for layer in network.modules():
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight)
    z = torch.randn(1, network.latents).repeat(2, 1)
    same, other = network(z, torch.tensor([1, 1])), network(z, torch.tensor([0, 1]))
    torch.testing.assert_close(same[0], same[1])
    assert (other[0] - other[1]).abs().max() > 1e-3


@formats
@pytest.mark.parametrize("count", [1, 2])
@discriminators
def test_a_discriminator_judges_and_learns(
    options: dict[str, Any], count: int, dtype: torch.dtype | None, layout: torch.memory_format
) -> None:
    network = discriminator(options).to(memory_format=layout)
    wake(network)
    set_precision(network, dtype)
    side = 8 if hasattr(network, "stage") else 16
    output = network(torch.randn(count, 3, side, side).contiguous(memory_format=layout), labels(count))
    assert output.logits.shape == ((count,) if options["kind"] == "autoencoder" else (count, 1))
    assert output.features.ndim == 2
    assert len(output.features) == count
    loss = output.logits.square().mean() + output.features.square().mean()
    if options.get("condition") == "auxiliary":
        assert output.classes.shape == (count, CLASSES)
        loss = loss + nn.functional.cross_entropy(output.classes, labels(count))
    else:
        assert output.classes is None
    assert all(part.dtype == torch.float32 for part in output if part is not None)
    loss.backward()
    if count > 1 or options.get("minibatch") != "discrimination":  # one sample has nobody to be compared with
        assert_every_parameter_learns(network)


@pytest.mark.parametrize("options", [o for o in DISCRIMINATORS if o.get("norm") != "batch"], ids=named)
def test_a_squared_slope_has_the_gradient_of_its_difference_quotient(options: dict[str, Any]) -> None:
    """What gradient penalties need of a discriminator."""
    network = discriminator(options).double()
    wake(network)
    side = 8 if hasattr(network, "stage") else 16
    images = torch.rand(3, 3, side, side, dtype=torch.float64) * 2 - 1

    def squared_slope() -> Tensor:
        x = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(network(x, labels(3)).logits.sum(), x, create_graph=True)
        return slope.square().sum()

    squared_slope().backward()
    moved = [parameter for parameter in network.parameters() if parameter.grad is not None]
    length = torch.stack([parameter.grad.norm() for parameter in moved]).norm()
    values = []
    for step in (1e-7, -2e-7):
        with torch.no_grad():
            for parameter in moved:
                parameter.add_(parameter.grad, alpha=step / length.item())
        values.append(squared_slope().item())
    assert (values[0] - values[1]) / 2e-7 == pytest.approx(length.item(), rel=1e-4)


@discriminators
def test_spectral_norm_takes_every_discriminator(options: dict[str, Any]) -> None:
    network = discriminator(options)
    SpectralNorm().prepare(network)
    output = network(torch.randn(2, 3, 16, 16), labels(2))
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()


def test_attention_is_nothing_at_first_and_the_paper_s_sum_later() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(16), torch.randn(2, 16, 3, 4)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.gamma, 0.7)
    flat = x.flatten(2)  # [N, C, L]
    f, g, h, v = (m.weight[:, :, 0, 0] for m in (layer.key, layer.query, layer.value, layer.out))
    assert f.shape == (2, 16)  # C/8
    for image, out in zip(flat, layer(x).flatten(2), strict=True):
        for j in range(12):
            scores = torch.stack([(f @ image[:, i]) @ (g @ image[:, j]) for i in range(12)])
            beta = scores.exp() / scores.exp().sum()
            o = v @ sum(beta[i] * (h @ image[:, i]) for i in range(12))
            torch.testing.assert_close(out[:, j], 0.7 * o + image[:, j])


def test_labels_beside_and_times_z() -> None:
    z, label = torch.randn(2, 4), torch.tensor([2, 0])
    beside, times, without = (LabelledLatent(kind, 4, CLASSES) for kind in ("concatenate", "multiply", "none"))
    assert torch.equal(beside(z, label), torch.cat([z, beside.embedding.weight[[2, 0]]], 1))
    assert torch.equal(times(z, label), z * times.embedding.weight[[2, 0]])
    assert without(z, None) is z
    assert [part.width for part in (beside, times, without)] == [8, 4, 4]


@pytest.mark.parametrize("kind", ["dcgan", "residual"])
def test_spectral_norm_in_the_generator_is_that_of_numpy(kind: str) -> None:
    network = generator({"kind": kind, "spectral_norm": True})
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)}
    assert len(layers) == {"dcgan": 3, "residual": 8}[kind]
    for layer in layers.values():
        for _ in range(100):
            weight = layer.weight.detach()  # each access in training mode is one power iteration
        matrix = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
        largest = np.linalg.svd(matrix.flatten(1).numpy(), compute_uv=False)[0]
        assert largest == pytest.approx(1, abs=1e-3)


def test_spectral_norm_leaves_the_class_embedding_alone() -> None:
    network = nn.Sequential(nn.Embedding(3, 4), Conv2d(4, 4, 3))
    normalise_spectrally(network)
    assert [name for name, _ in network.named_parameters()] == [
        "0.weight",
        "1.bias",
        "1.parametrizations.weight.original",
    ]


@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_mistakes_are_named(kind: str) -> None:
    assert [doublings(kind, size) for size in (4, 8, 128)] == [0, 1, 5]
    union, small = (LatentGenerator, SMALL) if kind == "generator" else (ImageDiscriminator, JUDGES)

    def build(options: dict[str, Any], size: int = 16, classes: int = 0) -> None:
        TypeAdapter(union).validate_python(small[options["kind"]] | options).build(3, size, classes)

    for size in (4, 28, 3, 0):
        with pytest.raises(ConfigError, match=rf"recipe.{kind}: takes pictures of 8, 16, 32, 64, … .* not {size}"):
            build({"kind": "dcgan"}, size)
    with pytest.raises(ConfigError, match=rf"recipe.{kind}: takes pictures of 4, 8, 16, 32, … .* not 28"):
        build({"kind": "progressive"}, 28)
    with pytest.raises(ConfigError, match=rf"recipe.{kind}.attention: no feature map is 16 .*\[4, 8\]"):
        build({"kind": "dcgan", "attention": 16})
    with pytest.raises(ConfigError, match=rf"recipe.{kind}.condition: 'concatenate' needs labelled data"):
        build({"kind": "dcgan", "condition": "concatenate"})
