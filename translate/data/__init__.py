"""Data for training: kinds of sources, endless batches of them, published data sets, and a check of what is there.

`data.kind: x` is the module `translate/data/x.py`; there is no list to edit. Importing this package loads no torch.
"""

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

from translate.errors import ConfigError, unknown

if TYPE_CHECKING:
    from types import ModuleType

    from translate.data.source import Source


def find(kind: str) -> "type[Source]":
    """The source of this kind. Raises ConfigError for a kind that no module defines."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    source = _source(importlib.import_module(f"{__name__}.{kind}")) if kind in modules else None
    if source is None:
        raise ConfigError(f"data.kind: {unknown('kind', kind, kinds())}")
    return source


def kinds() -> list[str]:
    """The names of all modules of this package that define a source."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in names if _source(importlib.import_module(f"{__name__}.{name}"))]


def _source(module: "ModuleType") -> "type[Source] | None":
    from translate.data.source import Source

    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, Source) and value.__module__ == module.__name__:
            return None if inspect.isabstract(value) else value
    return None
