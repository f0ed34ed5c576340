"""What the training doctor says, and when: rules over numbers alone, by `measure/subject` as in `slope/adversary`.

A condition is told once, when it was found at several lines of the journal (or validations), and when it is over.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

WARM_UP = 100  # steps before which nothing is judged: untrained networks look ill
LINES, VALIDATIONS = 4, 2  # how often a condition must be found
HISTORY = 16  # lines in which swings are counted
STEEP = {"gradient": 100.0, "weights": 10.0}  # times the usual norm that is called exploding
OVER = "over"
LOW = {  # by measure: the alarm below a value, and how to say it
    "diversity": ("collapsed", 0.1, "outputs differ from each other {:.1%} as much as they should"),
    "change": ("copied", 0.05, "inputs are changed by {:.1%} of their distance to target images"),
    "nearest": ("memorised", 0.4, "samples are {:.1%} as far from training images as held-out images are"),
}
ALARMS = {  # what it usually means, and what to try: keys of the config, of which a run may not have all
    "discriminator_won": (
        "The discriminator has won: it is never wrong, and passes too little back for the generator to learn from",
        "recipe.objective ({kind: non_saturating}); recipe.instance_noise (0.1); recipe.penalties ([{kind: r1}])",
    ),
    "collapsed": (
        "The generator has collapsed: whatever goes in, nearly the same picture comes out",
        "recipe.weights.mode_seeking (1); recipe.weights.l1 (larger); recipe.weights.cycle (larger); "
        "recipe.constraint ({kind: spectral_norm}); optimizer.lr (lower)",
    ),
    "oscillates": (
        "The discriminator's verdicts swing: the players chase each other without coming closer",
        "optimizer.lr (lower); optimizer.betas ([0, 0.9]); recipe.penalties ([{kind: r1}]); ema (0.999)",
    ),
    "explodes": (
        "Updates are too large, or a loss has no lower bound: values may soon not be finite",
        "optimizer.lr (lower); recipe.constraint ({kind: spectral_norm}); precision (fp32)",
    ),
    "slope_not_held": (
        "The Lipschitz constraint does not hold: the critic's loss estimates no distance, and its gradients mislead",
        "recipe.penalties (a larger weight, every: 1); recipe.discriminator_updates (more); optimizer.lr (lower)",
    ),
    "inverted": (
        "The translator exchanges light and dark, or colours: the way back undoes that, so no loss objects",
        "recipe.weights.identity (0.5); recipe.weights.l1 (larger); seed (another, and start again)",
    ),
    "copied": (
        "The translator returns its input: that costs less than changing it",
        "recipe.weights.adversarial (larger); recipe.weights.identity (smaller); recipe.weights.cycle (smaller); "
        "recipe.weights.l1 (larger)",
    ),
    "memorised": (
        "The generator repeats training images: too few of them for so large a network, or too many epochs",
        "recipe.augment ({}); data.flip (true); data.limit (more images); schedule.epochs (fewer)",
    ),
}


class Rules:
    """Judges one line after the other. `config` is the resolved one; `memory`, for checkpoints, has what numbers are
    compared with, and for how long conditions have held (negative: told)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config, self.memory = config, dict[str, list[float]]()

    def judge(self, step: int, values: Mapping[str, float], patience: int) -> dict[str, str]:
        """What is to be told, by `alarm/KIND/SUBJECT`: a text, or OVER."""
        told: dict[str, str] = {}
        for kind, subject, held, measured in self._findings(values):
            count = self.memory.setdefault(key := f"alarm/{kind}/{subject}", [0])
            if count[0] < 0:
                count[0] = -patience if held else count[0] + 1
                told |= {key: OVER} if count[0] == 0 else {}
            else:
                count[0] = count[0] + 1 if held and step >= WARM_UP else max(count[0] - 1, 0)
                if count[0] == patience:
                    told[key], count[0] = f"{measured}. {self._advice(kind)}", -patience
        return told

    def _advice(self, kind: str) -> str:
        means, keys = ALARMS[kind]
        return f"{means}. Try {'; '.join(key for key in keys.split('; ') if has(self.config, key.split()[0]))}"

    def _findings(self, values: Mapping[str, float]) -> Iterator[tuple[str, str, bool, str]]:
        """Kind, subject, whether it holds, what was measured."""
        for key, value in values.items():
            measure, _, subject = key.partition("/")
            if measure in STEEP:
                yield "explodes", key, *self._explodes(key, value, STEEP[measure])
            elif measure in LOW:
                kind, low, text = LOW[measure]
                yield kind, subject, value < low, text.format(value)
            elif measure == "received" and f"fake/{subject}" in values:
                yield "discriminator_won", subject, *self._won(subject, values)
            elif measure == "fake":
                yield "oscillates", subject, *self._oscillates(key, value)
            elif measure == "slope":
                text = f"the slope between real and generated images is {value:.3g} times what the penalty aims at"
                yield "slope_not_held", subject, value > 2, text
            elif measure == "correlation":
                wanted = values[f"wanted/{subject}"]
                text = f"outputs correlate with inputs by {value:.2f}, target images by {wanted:.2f}"
                yield "inverted", subject, value < -0.5 and wanted - value > 0.5, text

    def _won(self, subject: str, values: Mapping[str, float]) -> tuple[bool, str]:
        received, real, fake = (values[f"{measure}/{subject}"] for measure in ("received", "real", "fake"))
        largest = self.memory.setdefault(f"received/{subject}", [1e-30])
        largest[0] = max(largest[0], received if math.isfinite(received) else 0.0)
        share = received / largest[0]
        text = f"D(real) {real:.3f}, D(fake) {fake:.3f}, gradient to the generator {share:.1%} of its largest"
        return real > 0.95 and fake < 0.05 and share < 0.05, text

    def _oscillates(self, key: str, value: float) -> tuple[bool, str]:
        """By how often the verdict went from 0.15 below its mean to 0.15 above, or back."""
        past = self.memory[key] = [*self.memory.get(key, []), value][-HISTORY:]
        centre = sum(past) / len(past)
        above = [each > centre for each in past if abs(each - centre) > 0.15]
        swings = sum(before != after for before, after in pairwise(above))
        text = f"D(fake) swung {swings} times in {len(past)} lines, from {min(past):.2f} to {max(past):.2f}"
        return len(past) == HISTORY and swings >= 4, text

    def _explodes(self, key: str, norm: float, factor: float) -> tuple[bool, str]:
        """Against a slow geometric mean, which stands still meanwhile."""
        usual = self.memory.get(key, [norm])[0]
        held = not math.isfinite(norm) or norm > factor * usual > 0
        if not held and norm > 0:
            self.memory[key] = [usual**0.95 * norm**0.05]
        return held, f"the norm is {norm:.3g}, usually {usual:.3g}"


def has(config: Any, key: str) -> bool:
    """Whether a resolved config has `key`, as in recipe.weights.l1."""
    first, _, rest = key.partition(".")
    return isinstance(config, Mapping) and first in config and (not rest or has(config[first], rest))
