"""Feature spaces give what the networks behind them give, and say what they did."""

import urllib.error
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from translate.errors import CheckpointError, DataError, EvaluationError, ModelError
from translate.evaluation.spaces import NoWeightsError, open_space


def pictures(count: int = 3, height: int = 12, width: int = 10, channels: int = 3, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8))


def tensor(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def test_pixels_are_the_pixels() -> None:
    images = pictures()
    found = open_space("pixels")(images, 3)
    np.testing.assert_allclose(found.values, np.stack(images).reshape(3, -1) / 255, atol=1e-6)
    assert found.probabilities is None
    sixteen = [image.astype(np.uint16) * 257 for image in images]
    np.testing.assert_allclose(open_space("pixels")(sixteen, 3).values, found.values, atol=1e-6)


def test_pixels_of_one_size_for_pictures_of_several() -> None:
    both = [*pictures(2, 20, 20), *pictures(1, 30, 40, 1), *pictures(1, 20, 20)]
    space = open_space("pixels:8")
    found = space(both, 3).values
    assert (space.name, found.shape) == ("pixels:8", (4, 192))
    np.testing.assert_array_equal(found[3], found[0])  # in their order, whatever their size
    with pytest.raises(DataError, match="choose pixels:32"):
        open_space("pixels")(both, 3)
    with pytest.raises(DataError, match="more than 4096 numbers"):
        open_space("pixels")(pictures(1, 64, 64), 3)


def test_onnx_models_of_any_origin(tmp_path: Path) -> None:
    """The mean of each channel, in the range that was asked for."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "one"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    images = pictures(3, 8, 8)
    means = np.stack(images).mean((1, 2))
    for suffix, wanted in (("", means / 127.5 - 1), ("@unit", means / 255), ("@bytes", means)):
        space = open_space(f"onnx:{path}{suffix}")
        np.testing.assert_allclose(space(images, 3).values, wanted, rtol=1e-4, atol=1e-5)
    assert space.name == "onnx:mean"
    assert "resized to 8x8" in space.preparation
    assert open_space(f"onnx:{path}")(pictures(2, 16, 20, 1), 1).values.shape == (2, 3)
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"mean\.onnx"):
        open_space(f"onnx:{path}")


def test_torchscript(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(300, 4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(1, 3, 10, 10)).save(str(tmp_path / "net.pt"))
    images = pictures(3, 10, 10)
    wanted = network(tensor(images) / 127.5 - 1).detach()
    found = open_space(f"torchscript:{tmp_path / 'net.pt'}")(images, 3).values
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_torchvision_gives_what_the_last_layer_takes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1() and torchvision.models.resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    space = open_space(f"torchvision:resnet18@{tmp_path / 'resnet.pth'}")
    images = pictures(2, 40, 40)
    found = space(images, 3)
    prepared = torchvision.models.ResNet18_Weights.DEFAULT.transforms()(tensor(images))
    wanted = create_feature_extractor(network, ["flatten", "fc"])(prepared)
    np.testing.assert_allclose(found.values, wanted["flatten"].detach(), atol=1e-4)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities, wanted["fc"].softmax(1).detach(), atol=1e-4)
    assert "crop_size=[224]" in space.preparation


def test_inception_is_torch_fidelitys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights, from a file."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    with monkeypatch.context() as patch:
        patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = library.FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    space = open_space(f"inception-v3-tf@{tmp_path / 'inception.pth'}")
    images = pictures(2, 30, 30, 1)
    found = space(images, 1)
    values, logits = network(tensor(images).repeat(1, 3, 1, 1))
    np.testing.assert_allclose(found.values, values, rtol=1e-4, atol=1e-5)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities, logits.softmax(1), rtol=1e-4, atol=1e-6)
    assert (space.name, found.values.shape) == ("inception-v3-tf", (2, 2048))


def test_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    """torch-fidelity itself would run it."""

    class Bad:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"x": Bad()}, tmp_path / "bad.pth")
    for text in (f"inception-v3-tf@{tmp_path / 'bad.pth'}", f"torchvision:resnet18@{tmp_path / 'bad.pth'}"):
        with pytest.raises(CheckpointError, match="more than tensors"):
            open_space(text)
    assert not (tmp_path / "ran").exists()


def test_without_a_network_it_says_where_the_weights_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for text in ("inception-v3-tf", "torchvision:resnet18"):
        with pytest.raises(NoWeightsError, match=r"could not be downloaded .*no route.* put https://.*@FILE"):
            open_space(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inceptoin", "unknown feature space 'inceptoin'"),
        ("pixel", "did you mean 'pixels'"),
        ("pixels:0", "from 1 to 64"),
        ("onnx", "says not which"),
        ("torchvision:resnet19", "did you mean 'resnet1"),
        ("onnx:x.onnx@sined", "did you mean 'signed'"),
    ],
)
def test_mistakes_are_told(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        open_space(text)
