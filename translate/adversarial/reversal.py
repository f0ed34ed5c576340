"""Gradient reversal: Ganin et al. 2016, sec. 4.2, eqs. 16-17."""

from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * -ctx.strength, None


def reverse(x: Tensor, strength: float) -> Tensor:
    """`x` itself; on the way back its gradient times −`strength`.

    Whatever stands behind it goes down its loss as ever, whatever stands before it goes up, at `strength` times the
    rate: λ of the paper scales the gradient into the features and nothing else.
    """
    reversed_: Tensor = _Reversal.apply(x, strength)
    return reversed_
