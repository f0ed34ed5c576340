import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from translate.checkpoints import save
from translate.errors import CheckpointError, ConfigError
from translate.nn.digits import ClassifierNetwork, DomainBatchNorm, DomainDiscriminatorConfig

ADAPTER = TypeAdapter(ClassifierNetwork)


def build(size=(28, 28), channels=1, out=10, **keys):
    return ADAPTER.validate_python(keys).build(channels, size, out)


@pytest.mark.parametrize(
    ("keys", "size", "channels", "width"),
    [
        ({"kind": "mnist"}, 28, 1, 768),
        ({"kind": "mnist", "cut": "hidden", "dropout": 0.5}, 28, 1, 100),
        ({"kind": "mnist", "norm": "batch", "widths": (4, 6, 8)}, 32, 3, 150),
        ({"kind": "svhn", "widths": (2, 2, 4)}, 32, 3, 256),
        ({"kind": "residual", "widths": (4, 8)}, 12, 10, 8),
        ({"kind": "residual", "widths": (4,), "blocks": 2, "norm": "group"}, 9, 1, 4),
        ({"kind": "residual", "norm": "none"}, 16, 1, 64),
        ({"kind": "torchvision", "name": "resnet18"}, 40, 1, 512),
        ({"kind": "torchvision", "name": "mobilenet_v3_small"}, 40, 3, 1024),
    ],
)
def test_two_parts_with_gradients_everywhere(keys, size, channels, width):
    network = build((size, size), channels, 7, **keys)
    images = torch.rand(3, channels, size, size) * 2 - 1
    features = network.features(images)
    assert features.shape == (3, width) == (3, network.width)
    output = network(images)
    assert output.shape == (3, 7)
    output.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_papers_networks():
    """Ganin et al. 2016, figure 4: conv 5x5 32, 48, then 100, 100, 10; the discriminator 100, 1."""
    network = build(kind="mnist")
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(32, 1, 5, 5), (48, 32, 5, 5), (100, 768), (100, 100), (10, 100)]
    svhn = build((32, 32), 3, kind="svhn")
    shapes = [tuple(p.shape) for name, p in svhn.named_parameters() if name.endswith("weight")]
    assert shapes == [(64, 3, 5, 5), (64, 64, 5, 5), (128, 64, 5, 5), (3072, 8192), (2048, 3072), (10, 2048)]
    judge = DomainDiscriminatorConfig(width=1024, layers=2).build(8192)
    assert [tuple(p.shape) for p in judge.parameters() if p.dim() > 1] == [(1024, 8192), (1024, 1024), (1, 1024)]


def test_each_domain_has_its_own_statistics():
    """Training on both leaves the running mean of the source as if the target did not exist, and the other way."""
    norm = DomainBatchNorm(2)
    plain = {False: nn.BatchNorm2d(2), True: nn.BatchNorm2d(2)}
    torch.manual_seed(0)
    for _ in range(20):
        for target in (False, True):
            x = torch.randn(8, 2, 4, 4) + 3 * target
            norm.of_target = target
            torch.testing.assert_close(norm(x), plain[target](x))
    norm.eval()
    x = torch.randn(4, 2, 4, 4)
    for target in (False, True):
        norm.of_target = target
        torch.testing.assert_close(norm(x), plain[target].eval()(x))
    assert norm.target_mean.mean() > 2 > norm.running_mean.abs().mean()


def test_on_switches_all_layers():
    network = build(kind="residual").on(True)
    layers = [layer for layer in network.modules() if isinstance(layer, DomainBatchNorm)]
    assert len(layers) == 7
    assert all(layer.of_target for layer in layers)
    assert not any(layer.of_target for layer in network.on(False).modules() if isinstance(layer, DomainBatchNorm))


def test_weights_from_a_file(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(1)
    model = resnet18()
    model.bn1.running_mean += 2
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    network = build((32, 32), 3, 4, kind="torchvision", weights=path)
    inner = network.features[1]
    assert torch.equal(inner.conv1.weight, model.conv1.weight)
    assert torch.equal(inner.bn1.running_mean, model.bn1.running_mean)
    assert torch.equal(inner.bn1.target_mean, model.bn1.running_mean)
    grey = torch.rand(2, 1, 32, 32)
    grey_network = build((32, 32), 1, 4, kind="torchvision", weights=path).eval()
    model.fc = nn.Identity()
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(grey_network.features(grey * 2 - 1), model.eval()((grey - mean) / std))
    save(path, {"something": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"recipe.network.weights: .*weights.pt: do not fit this network"):
        build((32, 32), 3, 4, kind="torchvision", weights=path)


@pytest.mark.parametrize(
    ("keys", "size", "channels", "message"),
    [
        ({"kind": "mnist"}, (12, 12), 1, "12x12 pixels are too few; use network: {kind: residual}"),
        ({"kind": "svhn"}, None, 1, "takes images of one size"),
        ({"kind": "torchvision"}, (32, 32), 10, "take 1 or 3 channels, not 10"),
        ({"kind": "torchvision", "name": "resnet19"}, (32, 32), 3, "unknown model 'resnet19' \\(did you mean 'resnet"),
    ],
)
def test_refused(keys, size, channels, message):
    with pytest.raises(ConfigError, match=message):
        build(size, channels, **keys)


def test_bf16_convolutions_give_float32_features():
    from translate.nn.precision import set_precision

    network = build(kind="mnist", norm="batch")
    set_precision(network, torch.bfloat16)
    images = torch.rand(4, 1, 28, 28)
    features = network.features(images)
    assert features.dtype == torch.float32
    set_precision(network, None)
    torch.testing.assert_close(features, network.features(images), atol=0.1, rtol=0.1)
