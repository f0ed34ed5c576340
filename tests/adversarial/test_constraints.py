import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from translate.adversarial import (
    R1,
    AdversarialConfig,
    Adversary,
    Free,
    GradientPenalty,
    SpectralNorm,
    Wasserstein,
    WeightClip,
)
from translate.config.clock import Clock


def test_clip(patch):
    critic = patch()
    before = {name: value.detach().clone() for name, value in critic.named_parameters()}
    WeightClip(limit=0.05).enforce(critic)
    for name, value in critic.named_parameters():
        assert value.requires_grad
        assert torch.equal(value, before[name].clamp(-0.05, 0.05))
    assert any(value.abs().max() > 0.05 for value in before.values())


def test_free_does_nothing(patch):
    critic = patch()
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    Free().prepare(critic)
    Free().enforce(critic)
    after = critic.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_spectral_norm_against_svd():
    layers = [nn.Conv2d(3, 6, 3), nn.ConvTranspose2d(3, 6, 3), nn.Linear(5, 7), nn.Embedding(9, 4)]
    network = nn.ModuleList(layers)
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(5).add_(0.3)
    raw = [layer.weight.detach().numpy().copy() for layer in layers]
    raw[1] = raw[1].swapaxes(0, 1)  # output channels come second there
    SpectralNorm().prepare(network)
    for layer, weight in zip(layers, raw, strict=True):
        for _ in range(200):
            normalised = layer.weight  # each access in training mode is one power iteration
        largest = np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0]
        result = normalised.detach().numpy()
        result = result.swapaxes(0, 1) if isinstance(layer, nn.ConvTranspose2d) else result
        assert largest > 1.5
        np.testing.assert_allclose(result, weight / largest, rtol=1e-4, atol=1e-5)


def test_one_power_iteration_a_forward_in_training_only():
    """Algorithm 1: v <- W^T u / |W^T u|, u <- W v / |W v|, sigma = u^T W v."""
    layer = nn.Linear(6, 4, bias=False)
    SpectralNorm().prepare(nn.Sequential(layer))
    weight, u = layer.parametrizations.weight.original.detach(), layer.parametrizations.weight[0]._u.clone()
    v = nn.functional.normalize(weight.T @ u, dim=0)
    u = nn.functional.normalize(weight @ v, dim=0)
    x = torch.randn(3, 6)
    assert_close(layer(x), x @ weight.T / (u @ weight @ v))
    assert_close(layer.parametrizations.weight[0]._u, u)
    layer.eval()
    assert_close(layer(x), x @ weight.T / (u @ weight @ v))
    assert_close(layer.parametrizations.weight[0]._u, u, rtol=0, atol=0)


def test_spectral_norm_of_nothing_is_our_bug():
    with pytest.raises(AssertionError, match="no layer that spectral norm knows"):
        SpectralNorm().prepare(nn.Sequential(nn.ReLU()))


def steps(adversary, optimizer, start, count):
    """Both turns, with a gradient penalty: the vectors are updated in place between the passes of one graph."""
    losses = []
    for step in range(start, start + count):
        torch.manual_seed(step)
        clock = Clock(step=step, images=0, total=100)
        fake = torch.randn(2, 3, 16, 16, requires_grad=True)
        adversary.generator_loss(fake, clock).backward()
        terms = adversary.discriminator_losses(torch.randn(2, 3, 16, 16), fake, clock)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        adversary.enforce()
        losses.append({name: value.item() for name, value in terms.items()})
    return losses


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm2d, nn.InstanceNorm2d])
def test_spectral_norm_with_penalties_resumes_to_the_last_bit(patch, norm):
    config = AdversarialConfig(
        objective=Wasserstein(), constraint=SpectralNorm(), penalties=(GradientPenalty(), R1(every=2)), pool_size=3
    )

    def build():
        adversary = Adversary(patch(norm=norm), config)
        return adversary, torch.optim.Adam(adversary.discriminator.parameters(), 1e-3)

    straight = build()
    file = io.BytesIO()
    expected = steps(*straight, 0, 3)
    torch.save([part.state_dict() for part in straight], file)
    expected = steps(*straight, 3, 3)

    resumed = build()
    file.seek(0)
    for part, state in zip(resumed, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    assert steps(*resumed, 3, 3) == expected
    last = straight[0].state_dict()
    tensors = {name: value for name, value in resumed[0].state_dict().items() if isinstance(value, torch.Tensor)}
    assert any(name.endswith("._u") for name in tensors)
    assert all(torch.equal(value, last[name]) for name, value in tensors.items())


def test_a_factor_is_each_layers_slope():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    SpectralNorm(factor=3).prepare(network)
    for _ in range(100):  # power iterations
        network(torch.zeros(1, 6, dtype=torch.float64))
    for layer in (network[0], network[2]):
        assert_close(np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[0], 3.0, rtol=1e-6, atol=0)
