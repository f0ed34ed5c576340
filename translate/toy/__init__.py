"""Figures for teaching, each from a small experiment with the program's own networks, objectives and penalties.

Figure x is in translate/toy/x.py: `draw(steps, seed)` and STEPS, or `draw()` where nothing is trained; the numbers in
it come from the other public functions there. Importing this package loads nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from translate.errors import ConfigError

WIDTH = 12.0  # inches of 100 pixels
# Okabe & Ito 2008: distinct to every eye; without their yellow, which is faint on white.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = "black", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
_STYLE: dict[Any, Any] = {
    **{"font.size": 15, "axes.titlesize": 15, "figure.titlesize": 18, "lines.linewidth": 2.5, "figure.dpi": 100},
    **{
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.h_pad": 0.08,
    },
}


def write(name: str, output: Path | None = None, *, steps: int | None = None, seed: int | None = None) -> Path:
    """Draws the figure `name` into `output` (NAME.png; .svg and .pdf will do, too) and returns where.

    `steps` of training: None for the figure's own number. Raises ConfigError for what cannot be done.
    """
    import matplotlib

    module, path = import_module(f"translate.toy.{name}"), output or Path(f"{name}.png")
    trained = hasattr(module, "STEPS")
    if not trained and (steps, seed) != (None, None):
        raise ConfigError(f"{name}: nothing is trained: leave --steps and --seed out")
    with matplotlib.rc_context(_STYLE):
        figure = module.draw(steps or module.STEPS, seed or 0) if trained else module.draw()
        try:
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be written ({error}); choose another -o, as figure.png") from None
    return path
