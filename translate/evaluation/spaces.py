"""Feature spaces: what turns pictures into the numbers that distances are measured in.

The space is part of each metric's name, since values of two spaces have nothing to do with each other:

| text                     | what it is                                                                        |
| inception-v3-tf[@FILE]   | the Inception of published FIDs, by torch-fidelity; without FILE it is downloaded |
| classifier:FILE          | a classifier of `translate classifier`                                            |
| torchvision:NAME[@FILE]  | a backbone: the input of its last linear layer; without FILE it is downloaded     |
| onnx:FILE[@RANGE]        | the first output of any model                                                     |
| torchscript:FILE[@RANGE] | the same                                                                          |
| pixels, pixels:N         | the pixels themselves; resized to N x N                                           |

RANGE is what black and white are for the model: signed (−1 and 1, the default), unit (0 and 1), bytes (0 and 255),
imagenet (0 and 1, less the mean and by the deviation of ImageNet). Outputs [N, D, h, w] are averaged over h and w.
"""

import hashlib
import socket
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.data.channels import Pixels, maximum, to_channels
from translate.data.transforms import resize, unit
from translate.errors import DataError, EvaluationError, unknown

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
INCEPTION = "inception-v3-tf"
MOST = 4096  # pixels and channels that are features of their own: their covariance still fits
RANGES = {  # what is taken off values from 0 to 255, and what they are divided by, for each channel
    "signed": ((127.5,) * 3, (127.5,) * 3),
    "unit": ((0.0,) * 3, (255.0,) * 3),
    "bytes": ((0.0,) * 3, (1.0,) * 3),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


class NoWeightsError(EvaluationError):
    """Weights that could not be downloaded: other spaces may do without."""


class Extracted(NamedTuple):
    values: Floats  # [N, D]
    probabilities: Floats | None = None  # [N, K], of classes


@dataclass(frozen=True)
class Space:
    name: str  # in the brackets of a metric's name
    version: str  # of what computes: library, weights
    preparation: str  # how pictures come to what it takes
    compute: Callable[[list[Pixels]], Extracted]  # of pictures of one size
    channels: int | None = None  # that it takes; None: any
    classes: tuple[str, ...] = ()  # that the probabilities are of, where their names are known

    def __call__(self, pictures: Sequence[Pixels], channels: int) -> Extracted:
        """In their order. `channels` are those of the comparison, where the space takes any. Raises DataError."""
        wanted = self.channels or channels
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, picture in enumerate(pictures):
            sizes.setdefault(picture.shape[:2], []).append(place)
        try:
            groups = [[to_channels(pictures[place], wanted) for place in places] for places in sizes.values()]
        except ValueError as error:
            raise DataError(f"{self.name}: a picture {error}; choose another feature space") from None
        parts = [self.compute(group) for group in groups]
        if len({part.values.shape[1] for part in parts}) > 1:
            (h1, w1), (h2, w2) = list(sizes)[:2]
            raise DataError(
                f"{self.name}: pictures of {w1}x{h1} and {w2}x{h2} have features of different number; choose pixels:32"
            )
        order = np.argsort(np.concatenate(list(sizes.values())))
        likely = [part.probabilities for part in parts if part.probabilities is not None]
        return Extracted(
            np.concatenate([part.values for part in parts])[order], np.concatenate(likely)[order] if likely else None
        )


def open_space(text: str) -> Space:
    """Raises EvaluationError for a space that is unknown or cannot be used, NoWeightsError for lack of a download."""
    kind, colon, rest = text.partition(":")
    if text.startswith(INCEPTION):
        kind, _, rest = text.partition("@")
    openers: dict[str, Callable[[str], Space]] = {
        INCEPTION: _inception,
        "classifier": _classifier,
        "torchvision": _torchvision,
        "onnx": _onnx,
        "torchscript": _torchscript,
        "pixels": _pixels,
    }
    if kind == "observables":
        raise EvaluationError("--features: observables are those of detector files: use translate compare")
    if kind not in openers:
        raise EvaluationError(f"--features: {unknown('feature space', kind, openers)}")
    if not rest and (kind not in (INCEPTION, "pixels") or colon):
        raise EvaluationError(f"--features: {kind}: says not which: {kind}:…")
    return openers[kind](rest)


def eight_bit(pixels: Pixels) -> Pixels:
    """uint8, rounded to nearest; what lies outside the range is cut off."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(np.clip(pixels * np.float32(255 / maximum(pixels)), 0, 255)).astype(np.uint8)


def _pixels(side: str) -> Space:
    if side and not (side.isdecimal() and 1 <= int(side) <= 64):
        raise EvaluationError(f"--features: pixels:{side}: give the pixels a side, from 1 to 64, as pixels:32")

    def compute(pictures: list[Pixels]) -> Extracted:
        if side:
            pictures = [resize(unit(picture), int(side), int(side)) for picture in pictures]
        if pictures[0].size > MOST:
            height, width, channels = pictures[0].shape
            raise DataError(
                f"pixels: {width}x{height} in {channels} channels are more than {MOST} numbers; choose pixels:32"
            )
        return Extracted(np.stack([(picture / np.float32(maximum(picture))).ravel() for picture in pictures]))

    how = f"resized to {side}x{side}, bicubic, antialiased" if side else "not resized"
    return Space(f"pixels:{side}" if side else "pixels", "1", f"{how}; black 0, white 1", compute)


def _classifier(text: str) -> Space:
    from translate.evaluation.classifier import load

    classifier = load(Path(text))
    card = classifier.card

    def compute(pictures: list[Pixels]) -> Extracted:
        return Extracted(*classifier(np.stack([eight_bit(picture) for picture in pictures])))

    how = f"8 bit; {card.channels} channels, brought to {card.size}x{card.size} as data.fit: {card.fit}"
    name, version = f"classifier:{card.name}", _hash(classifier.path)
    return Space(name, version, how, compute, channels=card.channels, classes=card.classes)


def _inception(file: str) -> Space:
    """Szegedy et al. 2016 with the TensorFlow weights of Heusel et al. 2017: pool_3, and logits without a bias."""
    try:
        from torch_fidelity import __version__
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except ImportError:
        raise NoWeightsError(f"{INCEPTION}: needs torch-fidelity: pip install translate[evaluation]") from None
    path = Path(file) if file else _downloaded(URL_INCEPTION_V3, INCEPTION)
    _weights(path)  # checked: torch-fidelity would run code that is in it
    with _explained(path):
        network = FeatureExtractorInceptionV3(INCEPTION, ["2048", "logits_unbiased"], str(path)).to(_device())

    def compute(pictures: list[Pixels]) -> Extracted:
        import torch

        with torch.inference_mode(), float32():
            values, logits = network(_bytes(pictures))
            return Extracted(values.cpu().numpy(), logits.softmax(1).cpu().numpy())

    how = "8 bit; resized to 299x299, bilinear as in TensorFlow 1, not antialiased"
    return Space(INCEPTION, f"torch-fidelity {__version__}, {_hash(path)}", how, compute, channels=3)


def _torchvision(text: str) -> Space:
    import torch
    import torchvision
    from torchvision import models

    name, _, file = text.partition("@")
    if name not in (known := models.list_models(module=models)):
        raise EvaluationError(f"--features: torchvision: {unknown('model', name, known)}")
    weights = models.get_model_weights(name).DEFAULT
    path = Path(file) if file else _downloaded(weights.url, text)
    state = _weights(path)
    with _explained(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two old ones remark on how they begin
        network = models.get_model(name, weights=None)
        network.load_state_dict(state)
    network, prepare = network.eval().requires_grad_(False).to(_device()), weights.transforms()
    seen: list[torch.Tensor] = []
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def compute(pictures: list[Pixels]) -> Extracted:
        with torch.inference_mode(), float32():
            logits = network(prepare(_bytes(pictures)))
            return Extracted(seen.pop().flatten(1).cpu().numpy(), logits.softmax(1).cpu().numpy())

    version, how = f"torchvision {torchvision.__version__}, {_hash(path)}", " ".join(str(prepare).split())
    return Space(f"torchvision:{name}", version, f"8 bit; {how}", compute, channels=3)


def _onnx(text: str) -> Space:
    from translate.inference.runtime import gpu_available

    path, range = _ranged(text)
    with _explained(path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, too
        providers = ["CUDAExecutionProvider"] * gpu_available() + ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers)
        (entry,) = session.get_inputs()
        _, channels, *size = entry.shape
    fixed = (size[0], size[1]) if all(isinstance(side, int) for side in size) else None
    dtype = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}.get(entry.type, np.float32)
    range = "bytes" if dtype == np.uint8 else range

    def compute(pictures: list[Pixels]) -> Extracted:
        images = _scaled(pictures, range, fixed).astype(dtype)
        with _explained(path):
            return _pooled(session.run([session.get_outputs()[0].name], {entry.name: images})[0])

    version = f"onnxruntime {onnxruntime.__version__}, {_hash(path)}"
    channels = channels if isinstance(channels, int) else None
    return Space(f"onnx:{path.stem}", version, _how(range, fixed), compute, channels=channels)


def _torchscript(text: str) -> Space:
    import torch

    path, range = _ranged(text)
    with _explained(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch would rather have no such files
        network = torch.jit.load(path, map_location=_device()).eval()

    def compute(pictures: list[Pixels]) -> Extracted:
        images = _bytes(pictures) if range == "bytes" else torch.from_numpy(_scaled(pictures, range)).to(_device())
        with _explained(path), torch.inference_mode(), float32():
            return _pooled(network(images).float().cpu().numpy())

    return Space(f"torchscript:{path.stem}", f"torch {torch.__version__}, {_hash(path)}", _how(range), compute)


def _ranged(text: str) -> tuple[Path, str]:
    file, at, range = text.rpartition("@")
    if at and range not in RANGES:
        raise EvaluationError(f"--features: {text}: {unknown('range', range, RANGES)}")
    return (Path(file), range) if at else (Path(text), "signed")


def _how(range: str, size: tuple[int, int] | None = None) -> str:
    resized = f"resized to {size[1]}x{size[0]}, bicubic, antialiased" if size else "not resized"
    return f"8 bit; {resized}; range {range}"


def _scaled(pictures: list[Pixels], range: str, size: tuple[int, int] | None = None) -> Floats:
    """float32 [N, C, H, W]."""
    images = np.stack([resize(eight_bit(p), *size) if size else eight_bit(p) for p in pictures])
    low, scale = (np.array(each[: images.shape[3]], np.float32) for each in RANGES[range])
    low, scale = (low, scale) if len(low) == images.shape[3] else (low[:1], scale[:1])
    return np.ascontiguousarray(((images - low) / scale).transpose(0, 3, 1, 2))


def _pooled(output: NDArray[Any]) -> Extracted:
    output = output.mean((2, 3)) if output.ndim == 4 else output
    if output.ndim != 2:
        raise EvaluationError(f"--features: a model gave {list(output.shape)}; features are [N, D] or [N, D, h, w]")
    return Extracted(output.astype(np.float32))


def _bytes(pictures: list[Pixels]) -> "torch.Tensor":
    """uint8 [N, C, H, W] on the device."""
    import torch

    images = np.stack([eight_bit(picture) for picture in pictures]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images)).to(_device())


def float32() -> AbstractContextManager[object]:
    """Inside, a GPU gives what a CPU gives: its convolutions do not round to TF32, as they do by default."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _downloaded(url: str, what: str) -> Path:
    """In the cache of PyTorch, where it may be already. The name holds the first digits of its SHA-256."""
    import torch

    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.is_file():
        return path
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise NoWeightsError(
            f"{what}: its weights could not be downloaded ({reason}): put {url} into {path.parent}, or name a file: "
            f"{what}@FILE"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)
    return path


def _weights(path: Path) -> Any:
    from translate import checkpoints

    return checkpoints.read(path)


def _explained(path: Path) -> AbstractContextManager[None]:
    from translate.inference.session import explained

    return explained(f"{path}: cannot be used", "give a file that fits this feature space")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
