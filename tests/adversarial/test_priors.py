"""How often classes are in a domain without labels, found while the classifier trains."""

import pytest
import torch
from torch import Tensor

from translate.adversarial import ClassPriors

SOURCE, TARGET = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
MEANS = torch.tensor([-1.5, 0.0, 1.5])


def drawn(priors: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Classes, and numbers that overlap so much that a fourth is taken for another class."""
    label = torch.multinomial(priors, count, replacement=True, generator=rng)
    return label, MEANS[label] + torch.randn(count, generator=rng)


def logits(x: Tensor) -> Tensor:
    """Of the best classifier of the source: ln p(y | x) but for a constant."""
    return SOURCE.log() - (x[:, None] - MEANS).square() / 2


def test_the_target_is_found_and_the_source_counted() -> None:
    priors, rng = ClassPriors(3), torch.Generator().manual_seed(0)
    assert torch.equal(priors.weights(torch.tensor([0, 1, 2])), torch.ones(3))
    for _ in range(1500):
        label, _ = drawn(SOURCE, 64, rng)
        _, x = drawn(TARGET, 64, rng)
        priors.update(label, logits(x))
    torch.testing.assert_close(priors.source, SOURCE, atol=0.02, rtol=0)
    torch.testing.assert_close(priors.target, TARGET, atol=0.03, rtol=0)
    _, x = drawn(TARGET, 100_000, rng)
    naive = logits(x).softmax(1).mean(0)
    assert (naive - TARGET).abs().max() > 0.05  # what counting predictions would give
    label, _ = drawn(SOURCE, 100_000, rng)
    weights = priors.weights(label)
    assert weights.mean().item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(weights[label == 2].mean(), priors.target[2] / priors.source[2])


def test_one_step_of_em_by_hand() -> None:
    priors = ClassPriors(2, momentum=0.9)
    priors.source.copy_(torch.tensor([0.75, 0.25]))
    priors.target.copy_(torch.tensor([0.25, 0.75]))
    priors.update(torch.tensor([0, 0, 0, 1]), torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log())
    # p q / p' of the first: 0.9 / 3 and 0.1 · 3, so a half each; of the second 1/6 and 3/2, so 0.1 and 0.9
    torch.testing.assert_close(priors.target, torch.tensor([0.9 * 0.25 + 0.1 * 0.3, 0.9 * 0.75 + 0.1 * 0.7]))
    torch.testing.assert_close(priors.source, torch.tensor([0.75, 0.25]))


def test_a_class_that_the_source_lacks_has_a_limit() -> None:
    priors = ClassPriors(2)
    priors.source.copy_(torch.tensor([1.0, 0.0]))
    priors.target.copy_(torch.tensor([0.5, 0.5]))
    assert priors.weights(torch.tensor([0, 1])).tolist() == [0.5, 10.0]
    priors.update(torch.tensor([0, 0]), torch.tensor([[0.0, -200.0], [-200.0, 0.0]]))
    assert torch.isfinite(priors.target).all()
    assert priors.target.sum().item() == pytest.approx(1)
