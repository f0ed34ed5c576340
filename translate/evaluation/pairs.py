"""Metrics of pictures against their partners, a number each, and of label maps."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from translate.data.channels import Pixels, maximum, to_channels
from translate.errors import DataError, EvaluationError
from translate.evaluation.bootstrap import bootstrap
from translate.evaluation.measure import Row, of_values
from translate.evaluation.paired import PAIRED, LabelScores, confusion, lpips, ms_ssim, paired_metrics, scores
from translate.evaluation.pictures import Pictures
from translate.evaluation.statistics import bar

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 32
RISING = PAIRED | {"ms_ssim": True, "lpips": False}
LABELS = ("pixel_accuracy", "class_accuracy", "class_iou")
Values = dict[str, NDArray[np.float64]]  # by metric, [N]


def per_picture(
    names: Sequence[str], generated: Pictures, reference: Pictures, places: Sequence[int], channels: int
) -> Values:
    """The chosen of L1, PSNR, SSIM, MS-SSIM and LPIPS (`lpips`, or `lpips@FILE`) of each picture against the reference
    at `places`. What cannot be computed at the size of the pictures is left out. Raises as `_tensors` and `lpips`.
    """
    perceptual = next((name for name in names if name.startswith("lpips")), None)
    distance = lpips(weights=_file(perceptual)) if perceptual else None
    found = defaultdict[str, list[float]](list)
    for output, truth in _pairs(generated, reference, places, channels):
        values = {name: value for name, value in paired_metrics(output, truth).items() if name in names}
        if "ms_ssim" in names:
            values["ms_ssim"] = ms_ssim(output, truth)
        if distance is not None:
            values["lpips"] = distance(output, truth)
        for name, value in values.items():
            found[name] += value.tolist()
    return {name: np.array(values) for name, values in found.items() if not np.isnan(values).any()}


def rows(values: Values, unchanged: Values) -> dict[str, Row]:
    """`unchanged`: the same of the inputs, where they can be compared."""
    return {
        name: of_values(each, rising=RISING[name], beside=unchanged.get(name), what="unchanged input")
        for name, each in values.items()
    }


def label_rows(
    palette: Path, generated: Pictures, reference: Pictures, places: Sequence[int]
) -> tuple[dict[str, Row], list[str]]:
    """Scores of label maps over all pixels, and a line a class. `palette`: a text file, one `#rrggbb name` a line."""
    try:
        lines = [line.split(maxsplit=1) for line in palette.read_text(encoding="utf-8").splitlines() if line.strip()]
        colours = [ImageColor.getrgb(line[0])[:3] for line in lines]
    except (OSError, ValueError) as error:
        raise EvaluationError(f"--palette: {palette}: {error}; give a text file, one '#rrggbb name' a line") from None
    parts = [confusion(*pair, colours).numpy() for pair in _pairs(generated, reference, places, 3)]
    matrices = np.concatenate(parts)  # [N, K, K]
    total = _total(matrices)
    found = {}
    for place, name in enumerate(LABELS):

        def statistic(some: NDArray[np.int64], place: int = place) -> float:
            return _three(some)[place]

        sure = bootstrap(statistic, matrices, level=0.95) if len(matrices) > 1 else None
        deviation, low, high = (sure.deviation, sure.low, sure.high) if sure else (None, None, None)
        found[name] = Row(_three(matrices)[place], deviation, low, high, len(matrices), len(matrices), 30, True, False)
    names = [line[-1] for line in lines]
    return found, [
        f"{name}: accuracy {accuracy:.3f}, IoU {iou:.3f}"
        for name, accuracy, iou in zip(names, total.accuracies, total.ious, strict=True)
    ]


def _total(matrices: NDArray[np.int64]) -> LabelScores:
    """Of all pictures [N, K, K] together."""
    import torch

    return scores(torch.from_numpy(matrices.sum(0)))


def _three(matrices: NDArray[np.int64]) -> tuple[float, float, float]:
    return _total(matrices)[:3]


def _pairs(
    generated: Pictures, reference: Pictures, places: Sequence[int], channels: int
) -> "Iterator[tuple[Tensor, Tensor]]":
    """Batches of pairs of one size, in order: float32 [N, C, H, W] in [−1, 1]."""
    import torch

    def batch(pairs: list[tuple[Pixels, Pixels]]) -> "tuple[Tensor, Tensor]":
        x, y = (torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) for side in zip(*pairs, strict=True))
        return x, y

    with bar(len(places), "pairs") as progress:
        for start in range(0, len(places), BATCH):
            some = range(start, min(start + BATCH, len(places)))
            outputs, truths = generated.read(some), reference.read([places[place] for place in some])
            waiting: list[tuple[Pixels, Pixels]] = []
            for place, output, truth in zip(some, outputs, truths, strict=True):
                if output.shape[:2] != truth.shape[:2]:
                    (h1, w1), (h2, w2) = output.shape[:2], truth.shape[:2]
                    raise DataError(
                        f"--paired: {generated.name(place)}: is {w1}x{h1} and its partner {w2}x{h2}; make them one size"
                    )
                pair = _signed(output, channels), _signed(truth, channels)
                if waiting and waiting[0][0].shape != pair[0].shape:
                    yield batch(waiting)
                    waiting = []
                waiting.append(pair)
            yield batch(waiting)
            progress.update(len(some))


def _signed(pixels: Pixels, channels: int) -> Pixels:
    return to_channels(pixels, channels).astype(np.float32) / np.float32(maximum(pixels) / 2) - 1


def _file(name: str) -> Path | None:
    _, _, file = name.partition("@")
    return Path(file) if file else None
