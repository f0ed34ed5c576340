import math

import pytest
import torch

from translate.errors import ConfigError
from translate.nn import CriticConfig, RefinerConfig, ResNetConfig, ShowerGeneratorConfig, UNetConfig
from translate.nn.blocks import Noise
from translate.nn.refiner import compressed, expanded, rectified, suppressed

SMALL = {"width": 8, "blocks": 2}


def showers(count=4, layers=3, height=6, width=5, seed=0):
    """Sparse, with values from 0.01 to 1000."""
    generator = torch.Generator().manual_seed(seed)
    values = 10 ** (torch.rand(count, layers, height, width, generator=generator) * 5 - 2)
    return values * (torch.rand(values.shape, generator=generator) < 0.4)


@pytest.mark.parametrize("compress", [None, 10.0])
def test_a_new_refiner_changes_little_and_gives_no_negative_cell(compress):
    torch.manual_seed(0)
    x = showers()
    y = RefinerConfig(**SMALL, compress=compress).build(3, 3)(x)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert y.min() >= 0
    torch.testing.assert_close(y, x, rtol=0.05, atol=0.5)


def test_the_output_is_the_relu_of_the_sum():
    """Shrivastava et al. 2017 with the ReLU of physical units: R(x) = ReLU(x + g(x))."""
    config = RefinerConfig(**SMALL)
    network, x = config.build(3, 3), showers()
    torch.nn.init.normal_(network.last.weight, 0, 1)
    g = network.last(network.blocks(network.first(x)))
    torch.testing.assert_close(network(x), (x + g).clamp_min(0))
    assert (network(x)[x > 0] == 0).any()
    signed = RefinerConfig(**SMALL, positive=False).build(3, 3)
    signed.load_state_dict(network.state_dict())
    torch.testing.assert_close(signed(x), x + g)
    assert signed(x).min() < 0


def test_a_gain_is_one_number_in_compressed_units():
    """With all weights 0 but the last bias, b adds to log(1 + x/t): large cells are multiplied by exp(b)."""
    network = RefinerConfig(**SMALL, compress=1e-3).build(1, 1)
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.constant_(network.last.bias, -0.03)
    x = torch.full((1, 1, 2, 2), 100.0)
    torch.testing.assert_close(network(x), x * torch.tensor(-0.03).exp(), rtol=1e-4, atol=0)


def test_compression_is_undone_and_keeps_signs_and_zeros():
    x = torch.tensor([0.0, 1e-3, 1.0, 1e4, -5.0])
    for threshold in (None, 0.01, 10.0):
        back = expanded(compressed(x, threshold), threshold)
        torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-6)
        assert back[0] == 0
    torch.testing.assert_close(compressed(torch.tensor([-10.0]), 10.0), -torch.tensor([2.0]).log())


def test_a_cell_that_is_zero_can_come_back():
    y = torch.tensor([-2.0, 0.5], requires_grad=True)
    out = rectified(y)
    torch.testing.assert_close(out, torch.tensor([0.0, 0.5]), rtol=0, atol=0)
    out.sum().backward()
    torch.testing.assert_close(y.grad, torch.tensor([0.1, 1.0]))


def test_cells_below_the_threshold_are_zero_and_learn_all_the_same():
    x = torch.tensor([0.5, 3.0, -0.5, -3.0], requires_grad=True)
    out = suppressed(x, 1.0)
    torch.testing.assert_close(out, torch.tensor([0.0, 3.0, 0.0, -3.0]), rtol=0, atol=0)
    out.sum().backward()
    assert (x.grad == 1).all()
    network = RefinerConfig(**SMALL, suppress=25.0, noise=1).build(3, 3)
    made = network(showers())
    assert ((made == 0) | (made >= 25)).all()


@pytest.mark.parametrize("compress", [None, 10.0])
def test_no_cell_is_above_the_range_of_the_electronics(compress):
    free = RefinerConfig(**SMALL, compress=compress).build(3, 3)
    limited = RefinerConfig(**SMALL, compress=compress, saturate=400.0).build(3, 3)
    limited.load_state_dict(free.state_dict())
    made, without = limited(showers()), free(showers())
    assert (without > 500).any()
    torch.testing.assert_close(made, without.clamp(max=400.0), rtol=1e-5, atol=1e-4)


def test_noise_of_the_electronics_comes_after_their_range_and_before_zero_suppression():
    quiet = RefinerConfig(**SMALL, compress=1.0, saturate=400.0, suppress=25.0).build(3, 3)
    noisy = RefinerConfig(**SMALL, compress=1.0, saturate=400.0, suppress=25.0, readout_noise=10.0).build(3, 3)
    noisy.load_state_dict(quiet.state_dict())
    assert noisy.readout is not None
    x = showers(50)
    noisy.readout.at_test = False
    noisy.eval()
    torch.testing.assert_close(noisy(x), quiet(x))
    noisy.readout.at_test = True
    added = (noisy(x) - quiet(x))[quiet(x) > 399.9]
    assert len(added) > 100
    assert added.std().item() == pytest.approx(10, rel=0.2)
    assert added.mean().item() == pytest.approx(0, abs=3)
    empty = noisy(torch.zeros(100, 3, 24, 24))
    assert ((empty == 0) | (empty >= 25)).all()
    assert (empty > 0).float().mean().item() == pytest.approx(0.0062, rel=0.2)  # 2.5 σ, of one side
    signed = RefinerConfig(**SMALL, positive=False, suppress=25.0, readout_noise=10.0).build(3, 3)
    assert signed(torch.zeros(100, 3, 24, 24)).min() <= -25


def test_the_electronics_are_the_last_of_all():
    x, config = showers(), RefinerConfig(**SMALL, compress=1.0, saturate=400.0, suppress=25.0)
    network = config.build(3, 3)
    deposits = network(x, read_out=False)
    assert (deposits > 500).any()
    assert ((deposits > 0) & (deposits < 25)).any()
    torch.testing.assert_close(network.read_out(deposits), network(x), rtol=0, atol=0)


def test_mixing_is_of_energies_and_begins_with_the_identity():
    network, x = RefinerConfig(**SMALL, compress=1.0, mix=3).build(2, 2), showers(layers=2)
    torch.nn.init.zeros_(network.last.weight)
    torch.testing.assert_close(network(x), x)
    with torch.no_grad():
        network.mix.weight[0, 0, 1] = torch.tensor([0.0, 0.5, 0.5])  # half of each cell goes to the left
        network.mix.weight[1, 0, 1, 1] = 0.25  # a quarter of layer 0 is seen in layer 1, too
    expected = x.clone()
    expected[:, 0] = x[:, 0] / 2
    expected[:, 0, :, :-1] += x[:, 0, :, 1:] / 2
    expected[:, 1] += x[:, 0] / 4
    torch.testing.assert_close(network(x), expected)


def test_each_cell_may_have_weights_of_its_own():
    """A dead cell, and one that is miscalibrated; no other is changed."""
    network, x = RefinerConfig(**SMALL, compress=1.0, noise=1, each_cell=True).build(3, 3, (6, 5)), showers()
    torch.nn.init.zeros_(network.last.weight)
    torch.testing.assert_close(network(x), x)
    with torch.no_grad():
        network.cells.weight[2, 3, 1, SMALL["width"] + 1] = -1.0  # the features, then the cells: y − y
        network.cells.bias[0, 4, 4] = -0.1
    expected = x.clone()
    expected[:, 1, 2, 3] = 0
    expected[:, 0, 4, 4] = ((x[:, 0, 4, 4] + 1) * torch.tensor(-0.1).exp() - 1).clamp_min(0)
    torch.testing.assert_close(network(x), expected)


def test_weights_of_each_cell_need_one_size():
    with pytest.raises(ConfigError, match=r"each_cell: .*recipe\.kind refiner and images of one size: set data\.crop"):
        RefinerConfig(each_cell=True).build(3, 3)


def test_every_weight_is_reached_and_size_is_free():
    fixed = RefinerConfig(**SMALL, compress=1.0, noise=2, mix=3, each_cell=True).build(2, 2, (6, 5))
    fixed(showers(2, 2)).log1p().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fixed.parameters())
    network = RefinerConfig(**SMALL, compress=1.0, noise=2, mix=3).build(2, 2)
    for height, width in ((5, 9), (16, 4)):
        assert network(showers(2, 2, height, width)).shape == (2, 2, height, width)
    network(showers(2, 2)).log1p().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(("dilate", "reach"), [(False, 1 + 2 * 3), (True, 1 + 2 * (1 + 2 + 4))])
def test_how_far_a_refiner_sees(dilate, reach):
    torch.manual_seed(0)
    network = RefinerConfig(width=4, blocks=3, dilate=dilate, positive=False).build(1, 1)
    x = torch.ones(1, 1, 1, 64, requires_grad=True)
    (network(x)[0, 0, 0, 32] - x[0, 0, 0, 32]).backward()
    seen = x.grad[0, 0, 0].nonzero()[:, 0]
    assert (seen.min().item(), seen.max().item()) == (32 - reach, 32 + reach)


def test_noise_follows_the_seed_and_is_normal():
    noise, x = Noise(3).eval(), torch.zeros(64, 1, 16, 16)
    noise.seed = torch.arange(64)
    first = noise(x)
    assert first.shape == (64, 3, 16, 16)
    torch.testing.assert_close(first, noise(x), rtol=0, atol=0)
    assert first.mean().abs() < 0.02
    assert abs(first.std() - 1) < 0.02
    assert abs((first**4).mean() - 3) < 0.15
    flat = first.flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(64)
    assert correlation.abs().max() < 0.25  # √(1/768) = 0.036 each
    noise.seed = torch.arange(64).flip(0)
    torch.testing.assert_close(noise(x), first.flip(0), rtol=0, atol=0)
    noise.seed = None
    assert not torch.equal(noise(x), noise(x))
    noise.at_test = False
    assert (noise(x) == 0).all()


def test_a_refiner_needs_equal_channels():
    with pytest.raises(ConfigError, match="3 channels into one of as many, not of 1"):
        RefinerConfig().build(3, 1)


@pytest.mark.parametrize(
    "config", [UNetConfig(width=4, depth=3), ResNetConfig(width=4, blocks=1)], ids=["unet", "resnet"]
)
def test_outputs_without_limits(config):
    torch.manual_seed(0)
    x = 100 * torch.randn(1, 2, 16, 16)
    tanh = config.build(2, 2).eval()
    for output, low in (("linear", False), ("relu", True)):
        other = config.model_copy(update={"output": output}).build(2, 2).eval()
        assert list(other.state_dict()) == list(tanh.state_dict())
        other.load_state_dict({key: 50 * value for key, value in tanh.state_dict().items()})
        y = other(x)
        assert y.max() > 1
        assert (y.min() >= 0) == low
    assert tanh(x).abs().max() <= 1


@pytest.mark.parametrize("size", [(9, 9), (12, 12), (7, 10)])
def test_generator_and_critic_of_showers(size):
    torch.manual_seed(0)
    generator = ShowerGeneratorConfig(latent=6, width=8, compress=0.1).build(3, size, 1, 2)
    critic = CriticConfig(width=4).build(3, size, 0.1, told=3)
    latent, label = torch.randn(5, 7), torch.arange(5) % 2
    made = generator(latent, label)
    assert made.shape == (5, 3, *size)
    assert made.min() >= 0
    assert not torch.equal(made, generator(latent, 1 - label))
    told = torch.cat([latent[:, -1:], torch.nn.functional.one_hot(label, 2)], 1)
    logits = critic(compressed(made, 0.1), told).logits
    assert logits.shape == (5, 1)
    (logits.sum() + generator.energies(generator.told(latent, label)).square().sum()).backward()
    used = dict(critic.named_parameters()) | dict(generator.named_parameters())
    del used["last.bias"]  # shares do not know what is added to all their logarithms
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in used.values())


def test_a_critic_sees_the_energy_of_each_layer():
    critic = CriticConfig(width=2).build(2, (4, 4), 1.0)
    seen = []
    critic.logit.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0][:, -2:]))
    cells = torch.tensor([3.0, 0.5]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    critic(compressed(cells, 1.0))
    torch.testing.assert_close(seen[0], torch.tensor([[48.0, 8.0]]).log1p())


def test_a_critic_may_see_each_cell():
    """With nothing from its convolutions it still tells one cell from its neighbour, and what is told is seen once."""
    critics = [CriticConfig(width=2, each_cell=cells).build(2, (6, 5), 1.0, told=1) for cells in (False, True)]
    assert [critic.features.in_features for critic in critics] == [4 * 2 * 2 * 2, 4 * 2 * 2 * 2 + 2 * 6 * 5]
    one, other = torch.zeros(2, 1, 2, 6, 5)
    one[0, 1, 2, 3] = other[0, 1, 2, 4] = 4.0
    for critic, apart in zip(critics, (False, True), strict=True):
        torch.nn.init.zeros_(critic.trunk[-3].weight)
        first, second = (critic(cells, torch.ones(1, 1)).logits for cells in (one, other))
        assert torch.equal(first, second) != apart


@pytest.mark.parametrize("compress", [None, 0.1])
def test_a_generator_spreads_the_energies_of_layers(compress):
    torch.manual_seed(0)
    generator = ShowerGeneratorConfig(latent=6, width=8, compress=compress).build(3, (7, 10), 1, 2)
    generator.energies.scale_to(torch.tensor([50.0, 10.0, 40.0]))
    latent, label = torch.randn(500, 7), torch.arange(500) % 2
    energies = generator.energies(generator.told(latent, label))
    assert energies.min() >= 0
    assert 30 < energies.sum(1).median() < 300
    torch.testing.assert_close(generator(latent, label).sum((2, 3)), energies)
    with torch.no_grad():
        generator.last.bias.fill_(-100.0)  # no cell is left, but the largest
    torch.testing.assert_close(generator(latent, label).sum((2, 3)), energies)


def test_cells_are_shares_of_their_layer_by_hand():
    generator = ShowerGeneratorConfig(latent=2, width=4, compress=1.0).build(1, (1, 4), 1, 0)
    shares = torch.tensor([0.6, 0.3, 0.0996, 0.0004]).view(1, 1, 1, 4)
    cells = generator.spread(shares.log() + 5, torch.tensor(1000.0).view(1, 1, 1, 1))
    # shares · (1000 + 1) − 1, the last one below 0, and again of the sum 1000
    seen = torch.tensor([599.6, 299.3, 98.6996, 0.0])
    torch.testing.assert_close(cells.flatten(), seen * 1000 / seen.sum())
    # of an energy that no cell would reach the threshold with, the largest has all
    small = generator.spread(shares.log(), torch.tensor(0.2).view(1, 1, 1, 1))
    torch.testing.assert_close(small.flatten(), torch.tensor([0.2, 0.0, 0.0, 0.0]))


def test_the_width_of_a_response_is_of_what_is_told():
    torch.manual_seed(0)
    energies = ShowerGeneratorConfig(latent=6, width=8).build(3, (7, 10), 1, 2).energies
    with torch.no_grad():
        energies.known[-1].weight.zero_()
        energies.known[-1].bias[4:] = -20.0  # ln σ
        assert energies(torch.randn(50, 9)).std(0).max() < 1e-6
        energies.known[-1].bias[4:] = 0.0
        assert energies(torch.randn(50, 9)).std(0).min() > 1e-3


def test_signed_layers_are_zero_where_nothing_is_seen():
    torch.manual_seed(0)
    generator = ShowerGeneratorConfig(latent=4, width=8, signed=(1,)).build(2, (8, 8), 1, 0)
    signal, time = generator(5 * torch.randn(20, 5)).unbind(1)
    assert (signal == 0).any()
    assert (signal > 0).any()
    assert (time[signal == 0] == 0).all()
    assert time.min() < 0
    logarithmic = ShowerGeneratorConfig(latent=4, width=8, signed=(1,), compress=0.1).build(2, (8, 8), 1, 0)
    with torch.no_grad():
        logarithmic.last.bias.fill_(1e6)
    signal, time = logarithmic(torch.randn(20, 5)).unbind(1)
    assert (signal.sum((1, 2)) > 0).all()
    assert 1e4 < time.max() < 0.1 * math.exp(12)
    with pytest.raises(ConfigError, match="of layers 0 to 1, and not all"):
        ShowerGeneratorConfig(signed=(2,)).build(2, (8, 8), 1, 0)


def test_a_critic_needs_one_size():
    with pytest.raises(ConfigError, match=r"set data\.crop"):
        CriticConfig().build(3, None)
