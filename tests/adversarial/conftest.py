import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

PLACES = [Path(__file__).parents[1] / "golden", Path(__file__).parents[3] / "shared" / "golden"]


def _golden(name: str) -> Path:
    for place in PLACES:
        if (place / name).is_file():
            return place / name
    pytest.skip(f"no golden file {name}")


def _tensors(name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(_golden(f"{name}.safetensors"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def golden() -> dict:
    """The published implementation's losses, with the tensors that they were computed from under `tensors`."""
    return json.loads(_golden("losses.json").read_text()) | {"tensors": _tensors("losses")}


@pytest.fixture
def golden_critic() -> nn.Module:
    """The published PatchGAN of three layers with instance norm, built from its state dict alone."""
    weights = {
        name.removeprefix("weights.model."): tensor
        for name, tensor in _tensors("patchgan3_instancenorm").items()
        if name.startswith("weights.")
    }
    convolutions = sorted(int(name.removesuffix(".weight")) for name in weights if name.endswith(".weight"))
    network, last = nn.Sequential(), len(convolutions) - 1
    for place, index in enumerate(convolutions):
        out, into = weights[f"{index}.weight"].shape[:2]
        network.add_module(f"{index}", nn.Conv2d(into, out, 4, stride=2 if place < 3 else 1, padding=1))
        if 0 < place < last:
            network.add_module(f"{index}_norm", nn.InstanceNorm2d(out))
        if place < last:
            network.add_module(f"{index}_activation", nn.LeakyReLU(0.2))
    network.load_state_dict(weights)
    tensors = _tensors("patchgan3_instancenorm")
    torch.testing.assert_close(network(tensors["input"]), tensors["output_train_mode"], rtol=1e-5, atol=1e-5)
    return network


class Patch(nn.Sequential):
    """[N, C, H, W] -> [N, 1, H/2 - 1, W/2 - 1]."""

    def __init__(self, channels: int = 3, norm: type[nn.Module] = nn.Identity) -> None:
        super().__init__(
            nn.Conv2d(channels, 8, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 8, 3, 1, 1),
            norm(8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 1, 4, 1, 1),
        )


@pytest.fixture
def patch() -> type[Patch]:
    return Patch
