"""What the networks of generators from noise share: their sizes, labels beside z, attention, spectral norm.

Shapes: N samples, Z numbers of noise, C channels, H x W pixels, L = H·W places.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from translate.errors import ConfigError
from translate.nn.blocks import Conv2d

LatentCondition = Literal["none", "concatenate", "multiply"]


def wide(x: Tensor) -> Tensor:
    """The same values in float32, or in what they are if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def doublings(key: str, size: int, least: int = 0) -> int:
    """How often 4 is doubled to be `size`. Raises ConfigError, naming `recipe.<key>`, if not at least `least` times."""
    count = size.bit_length() - 3
    if count < least or size != 4 << count:
        known = ", ".join(str(4 << level) for level in range(least, least + 4))
        raise ConfigError(f"recipe.{key}: takes pictures of {known}, … pixels a side, not {size}: resize them in data")
    return count


def check_classes(key: str, condition: str, classes: int) -> None:
    if condition != "none" and not classes:
        raise ConfigError(f"recipe.{key}.condition: {condition!r} needs labelled data; these have no classes: set none")


def check_attention(key: str, attention: int | None, sides: Iterable[int]) -> None:
    known = sorted(sides)
    if attention is not None and attention not in known:
        raise ConfigError(f"recipe.{key}.attention: no feature map is {attention} pixels wide; known: {known}")


class LabelledLatent(nn.Module):
    """z and the class: [N, Z] → [N, width].

    An embedding of the label stands beside z (Mirza & Osindero 2014, sec. 3.2) or is multiplied with it.
    """

    def __init__(self, condition: LatentCondition, latent: int, classes: int) -> None:
        super().__init__()
        check_classes("generator", condition, classes)
        self.condition = condition
        self.width = 2 * latent if condition == "concatenate" else latent
        self.embedding = None if condition == "none" else nn.Embedding(classes, latent)  # N(0, 1), like z

    def forward(self, latent: Tensor, label: Tensor | None) -> Tensor:
        if self.embedding is None:
            return latent
        assert label is not None
        embedded: Tensor = self.embedding(label)
        return torch.cat([latent, embedded], 1) if self.condition == "concatenate" else latent * embedded


class SelfAttention(nn.Module):
    """y = γ·o + x, [N, C, H, W] → the same: Zhang et al. 2018 (SAGAN), sec. 3, eqs. 1-3, with C̄ = C/8 and γ from 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.key, self.query, self.value = (Conv2d(channels, inner, 1, bias=False) for _ in range(3))  # f, g, h
        self.out = Conv2d(inner, channels, 1, bias=False)  # v
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        key, query, value = (layer(x).flatten(2) for layer in (self.key, self.query, self.value))  # [N, C̄, L]
        # Written out: torch's fused attention cannot be differentiated twice, as penalties are.
        places = (query.transpose(1, 2) @ key).softmax(-1)  # [N, L, L]: row j says where place j looks
        out: Tensor = self.out((value @ places.transpose(1, 2)).unflatten(2, x.shape[2:]))
        return x + self.gamma.to(out.dtype) * out


def normalise_spectrally(generator: nn.Module) -> None:
    """Spectral norm in the generator too: Zhang et al. 2018, sec. 4.1; not of embeddings, as in BigGAN."""
    layers = [layer for layer in generator.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer in layers:
        spectral_norm(layer)
