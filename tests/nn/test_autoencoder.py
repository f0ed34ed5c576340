import pytest
import torch
from torch import nn

from translate.errors import ConfigError
from translate.nn import AutoencoderConfig
from translate.nn.autoencoder import Autoencoder
from translate.nn.blocks import Conv2d, ConvTranspose2d


def test_energy_by_hand() -> None:
    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    images = torch.tensor([[[[1.0, -1.0], [0.0, 0.0]]], [[[0.5, 0.5], [-0.5, 1.0]]]])
    output = Autoencoder(Half(), nn.Identity())(images)
    torch.testing.assert_close(output.logits, torch.tensor([0.5 / 4, 1.75 / 16]))  # (x/2)², the mean of four
    torch.testing.assert_close(output.features, images.flatten(1) / 2)
    assert output.classes is None
    assert not Autoencoder(nn.Identity(), nn.Identity())(images).logits.any()


def test_layers_are_the_paper_s() -> None:
    """(64)4c2s-(128)4c2s-(256)4c2s-(128)4c2s-(64)4c2s-(3)4c2s."""
    network = AutoencoderConfig().build(3, 64)
    layers = [layer for layer in network.modules() if isinstance(layer, Conv2d | ConvTranspose2d)]
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 128, 64, 3]
    assert {(layer.kernel_size, layer.stride) for layer in layers} == {((4, 4), (2, 2))}
    assert network.encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 256, 8, 8)


def test_a_number_of_the_code_sees_22_pixels() -> None:
    torch.manual_seed(0)
    network = AutoencoderConfig(width=2, norm="none").build(1, 64)
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    network.encoder(images)[0, :, 4, 4].sum().backward()
    rows = images.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert (len(rows), rows[-1] - rows[0] + 1) == (22, 22)


def test_it_learns_what_the_data_are() -> None:
    """Energies of seen pictures fall below those of others."""
    torch.manual_seed(0)
    network = AutoencoderConfig(width=8, layers=2).build(1, 16)
    ramp = torch.linspace(-1, 1, 16)
    data = (ramp[None, :, None] * torch.randn(64, 1, 1)).expand(64, 16, 16)[:, None].clamp(-1, 1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        network(data).logits.mean().backward()
        optimizer.step()
    network.eval()
    assert network(data).logits.mean() < 0.05
    assert network(torch.rand(64, 1, 16, 16) * 2 - 1).logits.mean() > 0.2


def test_points_have_energies_too() -> None:
    torch.manual_seed(0)
    network = AutoencoderConfig(width=16, layers=2).build(2, 1)
    points = torch.randn(5, 2, 1, 1)
    output = network(points)
    assert output.features.shape == (5, 16)
    error = network.decoder(network.encoder(points)) - points
    torch.testing.assert_close(output.logits, error.square().mean((1, 2, 3)))
    output.logits.sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"recipe.discriminator.layers: 28 pixels a side cannot be halved 3 times"):
        AutoencoderConfig().build(1, 28)
