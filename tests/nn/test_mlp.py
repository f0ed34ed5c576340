import pytest
import torch
from torch import nn

from translate.nn import MLPDiscriminatorConfig, MLPGeneratorConfig
from translate.nn.mlp import Activation


def test_points_are_unbounded_and_pictures_are_not() -> None:
    torch.manual_seed(0)
    points = MLPGeneratorConfig().build(2, 1)
    assert points(torch.randn(64, 2) * 1000).abs().max() > 10
    pictures = MLPGeneratorConfig(latent=3).build(1, 28)
    assert pictures(torch.randn(4, 3) * 1e4).abs().max() <= 1
    assert pictures(torch.randn(4, 3)).shape == (4, 1, 28, 28)


@pytest.mark.parametrize(
    ("activation", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("elu", nn.ELU), ("tanh", nn.Tanh)]
)
def test_layers_and_activations(activation: Activation, kind: type[nn.Module]) -> None:
    made = MLPGeneratorConfig(width=7, layers=4, activation=activation).build(2, 1)
    judge = MLPDiscriminatorConfig(width=7, layers=4, activation=activation).build(2, 1)
    for network, stack, sizes in ((made, made.model, [2, 7, 7, 7, 7, 2]), (judge, judge.trunk, [2, 7, 7, 7, 7, 1])):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        assert [layer.in_features for layer in layers] + [layers[-1].out_features] == sizes
        assert sum(isinstance(layer, kind) for layer in stack) == 4


def test_a_critic_of_points_by_hand() -> None:
    torch.manual_seed(0)
    judge = MLPDiscriminatorConfig(width=5, layers=1).build(2, 1)
    points = torch.randn(3, 2, 1, 1)
    first, last = judge.trunk[1], judge.heads.logit
    hidden = (points[:, :, 0, 0] @ first.weight.T + first.bias).relu()
    torch.testing.assert_close(judge(points).logits, hidden @ last.weight.T + last.bias)
    torch.testing.assert_close(judge(points).features, hidden)
