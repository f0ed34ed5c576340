"""The networks against outputs of the published PyTorch implementation: same weights, same keys, same numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from translate.nn import PatchGANConfig, PixelGANConfig, ResNetConfig, UNetConfig
from translate.nn.blocks import Dropout

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

# The golden eval-mode outputs are those of running statistics without dropout.
AT_TEST: dict[str, Any] = {"dropout_at_test": False, "batch_norm_at_test": "running"}

NETWORKS = {
    "unet_5down_batchnorm": lambda: UNetConfig(width=8, depth=5, dropout=0, **AT_TEST).build(3, 3),
    "unet_6down_batchnorm_dropout": lambda: UNetConfig(width=8, depth=6, **AT_TEST).build(3, 2),
    "resnet6_instancenorm": lambda: ResNetConfig(width=8, blocks=6).build(3, 3),
    "resnet9_batchnorm_dropout": lambda: ResNetConfig(width=8, blocks=9, norm="batch", dropout=0.5, **AT_TEST).build(
        3, 3
    ),
    "patchgan3_batchnorm": lambda: PatchGANConfig(width=8, norm="batch").build(6),
    "patchgan3_instancenorm": lambda: PatchGANConfig(width=8).build(3),
    "pixelgan_batchnorm": lambda: PixelGANConfig(width=8, norm="batch").build(3),
}


def golden(name: str) -> dict[str, torch.Tensor]:
    path = GOLDEN / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_give_the_published_outputs(name: str, layout: torch.memory_format) -> None:
    data = golden(name)
    network: nn.Module = NETWORKS[name]()
    weights = {key.removeprefix("weights."): data[key] for key in data if key.startswith("weights.")}
    assert set(network.state_dict()) == set(weights)
    network.load_state_dict(weights)
    network.to(memory_format=layout)
    inputs = data["input"].contiguous(memory_format=layout)
    network.eval()
    torch.testing.assert_close(network(inputs), data["output_eval_mode"], atol=1e-5, rtol=0)
    network.train()
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.eval()
    torch.testing.assert_close(network(inputs), data["output_train_mode"], atol=1e-5, rtol=0)
