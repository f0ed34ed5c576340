"""What a study trains: the source alone, the adapted variants, translated images, the labelled target, a null test."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from translate.config.load import dump, load, parse
from translate.config.run import Run, Study
from translate.data.source import SourceConfig, size_of
from translate.errors import ConfigError, unknown

SOURCE_ONLY = (
    "recipe.weights.adversarial=0",
    "recipe.weights.entropy=0",
    "recipe.weights.virtual=0",
    "recipe.condition=none",
    "recipe.entropy_weighting=false",
)
BASELINE, CEILING, NULL, NULL_BASELINE = "source_only", "target_supervised", "null_test", "null_source_only"
TRANSLATED = "translated"

Domains = Literal["both", "target", "halves"]


class Variant(NamedTuple):
    name: str
    run: Run
    domains: Domains = "both"  # target: it is both domains, and has labels; halves: so is the source
    translated: bool = False  # its source images are what the translator makes of them
    usual: bool = True  # trained where none is chosen

    @property
    def adapted(self) -> bool:
        """Whether it is one of those among which is selected without labels of the target."""
        return self.domains == "both" and self.name != BASELINE


def variants(run: Run) -> list[Variant]:
    """All that can be trained. Raises ConfigError where the config gives two one name."""
    study = run.study or Study()
    alone = changed(run, SOURCE_ONLY)
    adapted = [Variant(name, changed(run, overrides)) for name, overrides in study.variants.items()]
    first = adapted[0]
    found = [Variant(BASELINE, alone), *adapted]
    if study.translator:
        found.append(Variant(TRANSLATED, alone, translated=True))
        for one in adapted:
            found.append(Variant(f"{TRANSLATED}+{one.name}", one.run, translated=True, usual=one is first))
    found.append(Variant(CEILING, alone, "target"))
    found += [Variant(NULL_BASELINE, alone, "halves"), Variant(NULL, first.run, "halves")]
    names = [variant.name for variant in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"study.variants: {name!r} is a variant of every study; choose another name")
    return found


def select(found: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """Those of these names, or the usual ones. Raises ConfigError for a name that is not known."""
    known = [variant.name for variant in found]
    for name in names:
        if name not in known:
            raise ConfigError(f"--variants: {unknown('variant', name, known)}")
    return [variant for variant in found if (variant.name in names if names else variant.usual)]


def translator(run: Run) -> Run | None:
    """Raises ConfigError for a config that cannot be used."""
    study = run.study or Study()
    if not study.translator:
        return None
    method = load(study.translator, study.translator_set)
    assert isinstance(run.data, SourceConfig)
    assert isinstance(method.data, SourceConfig)
    size, other = size_of(run.data), size_of(method.data)
    if size and other and size != other:
        raise ConfigError(
            f"study.translator: {study.translator} is of images of {other[0]}x{other[1]}, these data have "
            f"{size[0]}x{size[1]}: choose another, or set its size in study.translator_set (of a detector: data.crop)"
        )
    return method


def changed(run: Run, overrides: Sequence[str]) -> Run:
    return parse(dump(run), "study.variants", overrides)
