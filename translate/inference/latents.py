"""The numbers that pictures are generated from. Shapes: N pictures, Z latent numbers each."""

from itertools import count as rounds

import numpy as np
from numpy.typing import NDArray

from translate.errors import ModelError, unknown
from translate.inference.card import Card

Latents = NDArray[np.float32]  # [N, Z]
Labels = NDArray[np.int64]  # [N]
LEAST = 0.01  # below it nearly every number would be drawn hundreds of times


def draw(card: Card, count: int, seed: int, truncation: float | None = None) -> Latents:
    """From the prior; the first are the same whatever `count` is.

    `truncation`: numbers further from 0 are drawn again until none is, which trades variety for quality (BigGAN: Brock
    et al. 2019, sec. 3.1); of normal priors alone. Raises ModelError for what the model does not have.
    """
    if card.latent is None:
        raise ModelError(f"{card.name} translates pictures; it makes none from random numbers")
    if truncation is not None and card.prior != "normal":
        raise ModelError(f"truncation: {card.name} has a {card.prior} prior, without tails to cut off; leave it out")
    if truncation is not None and not truncation >= LEAST:
        raise ModelError(f"truncation: {truncation:g} must be at least {LEAST:g}; 0.5 to 1 are usual")
    shape = (count, card.latent)
    if card.prior == "uniform":
        return _generator(seed, 0).random(shape, np.float32) * 2 - 1
    latents = _generator(seed, 0).standard_normal(shape, np.float32)
    for attempt in rounds(1):  # each from a generator of its own, so that `count` makes no difference
        if truncation is None or not (beyond := np.abs(latents) > truncation).any():
            break
        latents = np.where(beyond, _generator(seed, attempt).standard_normal(shape, np.float32), latents)
    return latents


def classes(card: Card, count: int, label: str | int | None) -> Labels:
    """`label` for all, by name or number; without one, the classes in turn. Raises ModelError for an unknown one."""
    names = card.labels
    if label is None:
        return np.arange(count, dtype=np.int64) % max(len(names), 1)
    if not names:
        raise ModelError(f"label: {card.name} knows no classes; leave it out")
    text = str(label)
    if text not in names and not (text.isdecimal() and int(text) < len(names)):
        raise ModelError(f"{unknown('label', text, names)}; or a number from 0 to {len(names) - 1}")
    return np.full(count, names.index(text) if text in names else int(text), np.int64)


def walk(corners: Latents, frames: int, *, sphere: bool) -> Latents:
    """[N, Z] → [N·frames, Z]: a closed way through all corners, each at every `frames`-th place, with equal steps.

    `sphere`: along great circles (White 2016, sec. 2.1), where normal latents lie: nearly all have a length of √Z,
    which those of the straight line between two of them fall short of. Else along straight lines.
    """
    place = (np.arange(frames) / frames)[:, None]  # [F, 1]
    parts = []
    for start, end in zip(corners.astype(np.float64), np.roll(corners, -1, axis=0).astype(np.float64), strict=True):
        cosine = start @ end / max(float(np.linalg.norm(start) * np.linalg.norm(end)), 1e-12)
        angle = np.arccos(np.clip(cosine, -1, 1))
        if sphere and np.sin(angle) > 1e-6:
            weights = np.sin((1 - place) * angle) / np.sin(angle), np.sin(place * angle) / np.sin(angle)
        else:
            weights = 1 - place, place
        parts.append(weights[0] * start + weights[1] * end)
    return np.concatenate(parts).astype(np.float32)


def _generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))
