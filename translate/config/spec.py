"""Config values: frozen, typed, and closed to keys that they do not know."""

from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from translate.errors import ConfigError, unknown


class Spec(BaseModel):
    """A frozen value read from YAML. Unknown keys are errors, never silence."""

    # Built when first used: a tenth of a second for all of them, of which a command needs a few.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Kinded(Spec):
    """A Spec that says by `kind:` which class of its family it configures; subclasses narrow it to one Literal."""

    kind: str


Resolve = Callable[[str, Any], type[Kinded]]


def explain(
    error: ValidationError,
    model: type[BaseModel],
    raw: Any,
    source: str,
    resolve: Resolve = lambda field, value: Kinded,
) -> ConfigError:
    """One line per mistake: the file, the path of the key, what was said and what is known.

    `resolve(field, value)` is the model of a field that is only declared as Kinded.
    """
    return ConfigError("\n".join(f"{source}: {line}" for line in _lines(error, model, raw, resolve)))


def _lines(error: ValidationError, model: type[BaseModel], raw: Any, resolve: Resolve) -> Iterator[str]:
    for entry in error.errors(include_url=False):
        path = _written_path(entry["loc"], raw)
        place = ".".join(path) or "top level"
        match entry["type"]:
            case "extra_forbidden":
                parent = ".".join(path[:-1]) or "top level"
                yield f"{parent}: {unknown('key', path[-1], _fields(model, entry['loc'][:-1], raw, resolve))}"
            case "union_tag_invalid":
                tags = [tag.strip(" '") for tag in entry["ctx"]["expected_tags"].split(",")]
                yield f"{place}: {unknown('kind', str(entry['ctx']['tag']), tags)}"
            case "union_tag_not_found":
                yield f"{place}: needs a 'kind'"
            case "missing":
                yield f"{place}: missing"
            case "value_error":
                yield f"{place}: {entry['ctx']['error']}"
            case _:
                yield f"{place}: {entry['msg'][0].lower()}{entry['msg'][1:]} (got {entry['input']!r})"


def _written_path(loc: tuple[int | str, ...], raw: Any) -> list[str]:
    """The part of pydantic's location that stands in the file: union tags do not."""
    path = []
    for index, part in enumerate(loc):
        if isinstance(raw, list):
            raw = dict(enumerate(raw))
        if isinstance(raw, dict) and part in raw:
            raw = raw[part]
        elif index < len(loc) - 1 or not isinstance(raw, dict):
            continue  # a tag of a union
        path.append(str(part))
    return path


def _fields(model: Any, loc: tuple[int | str, ...], raw: Any, resolve: Resolve) -> list[str]:
    """The field names of the model at `loc`, following the union tags that pydantic puts in the path."""
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model, raw = model.model_fields[str(part)].annotation, raw.get(part) if isinstance(raw, dict) else None
            if model is Kinded:
                model = resolve(str(part), raw)
        model = next((m for m in _models(model) if part in (_kind(m), m.__name__.lower())), model)
    models = _models(model)
    return list(models[0].model_fields) if models else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return next(iter(get_args(field.annotation)), None) if field else None
