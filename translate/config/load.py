"""From a name on the command line to a checked `Run`, and back to YAML."""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from translate.config.run import Run, by_kind
from translate.config.spec import explain
from translate.errors import ConfigError, unknown

# In a checkout configs/ stands beside the package; in an installed wheel inside it.
_FOLDERS = (Path(__file__).parents[2] / "configs", Path(__file__).parents[1] / "configs")


def locate(name: str) -> Path:
    """`name` as a path, then as a file in configs/ (with or without .yaml)."""
    candidates = [Path(name), *(folder / n for folder in _FOLDERS for n in (name, f"{name}.yaml"))]
    for path in candidates:
        if path.is_file():
            return path
    known = (path.name for folder in _FOLDERS for path in folder.glob("*.yaml"))
    raise ConfigError(f"--config: {unknown('file', name, known)}")


def load(name: str, overrides: Iterable[str] = ()) -> Run:
    """Reads a config by path or by name, applies `key.path=value` overrides, and checks all of it."""
    path = locate(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(text, path.name, overrides)


def parse(text: str, source: str, overrides: Iterable[str] = ()) -> Run:
    """As `load`, from YAML text; `source` is what messages call it."""
    raw = mapping(text, source, overrides, "with at least 'recipe' and 'data'")
    try:
        return Run.model_validate(raw)
    except ValidationError as error:
        raise explain(error, Run, raw, source, by_kind) from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def mapping(text: str, source: str, overrides: Iterable[str], content: str) -> dict[str, Any]:
    """YAML text with the overrides applied; `content` is what messages say that it must hold."""
    try:
        raw = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: a config is a mapping {content}")
    for override in overrides:
        _apply(raw, override)
    return raw


def dump(run: Run) -> str:
    """The resolved config as YAML that `parse` reads back to an equal Run."""
    return yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(raw: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"--set {override!r}: write key.path=value, as in recipe.weights.cycle=5")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None
    place: Any = raw
    for depth, key in enumerate(keys):
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                where = ".".join(keys[:depth])
                raise ConfigError(f"--set {override!r}: {where} is a list of {len(place)}: write {where}.0 …")
            step: Any = int(key)
        elif isinstance(place, dict):
            step = key
        else:
            raise ConfigError(f"--set {override!r}: {'.'.join(keys[:depth])} is {place!r}, it has no keys")
        if depth == len(keys) - 1:
            place[step] = value
        elif isinstance(place, dict):
            place = place.setdefault(step, {})
        else:
            place = place[step]


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once: PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
