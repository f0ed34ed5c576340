import pytest
import torch

from translate.adversarial import reverse


@pytest.mark.parametrize("strength", [0.0, 0.4621, 1.0])
def test_the_same_forward_and_minus_lambda_backward(strength):
    x = torch.randn(3, 4, requires_grad=True)
    y = reverse(x, strength)
    assert torch.equal(y, x)
    factor = torch.randn(3, 4)
    (y * factor).sum().backward()
    torch.testing.assert_close(x.grad, -strength * factor)


def test_what_stands_behind_is_trained_at_full_strength():
    """Ganin et al. 2016, eqs. 13-15: λ scales the gradient into the features and nothing else."""
    features, head = torch.nn.Linear(5, 3), torch.nn.Linear(3, 1)
    x = torch.randn(7, 5)
    head(features(x)).square().mean().backward()
    plain = {name: p.grad.clone() for name, p in (*features.named_parameters("f"), *head.named_parameters("h"))}
    features.zero_grad()
    head.zero_grad()
    head(reverse(features(x), 0.3)).square().mean().backward()
    for name, parameter in (*features.named_parameters("f"), *head.named_parameters("h")):
        torch.testing.assert_close(parameter.grad, plain[name] * (-0.3 if name.startswith("f") else 1.0))
