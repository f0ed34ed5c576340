from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from translate.batches import Adaptation
from translate.config.load import load
from translate.data.adaptation import Domain, Domains
from translate.data.digits import DigitsConfig
from translate.data.source import Source, SourceConfig
from translate.detector.normalisation import Normalisation
from translate.errors import ConfigError
from translate.study.domains import MemorySource, apart, halves, recoded, translated, unlabelled
from translate.study.variants import translator, variants


class Detector(SourceConfig):
    kind: str = "detector"
    normalisation: Normalisation = Normalisation()


def numbered(start: int, count: int) -> Domain:
    return Domain(torch.arange(start, start + count).float().view(-1, 1, 1, 1).clone(), torch.arange(count) % 3)


@pytest.fixture
def domains() -> Domains:
    return Domains(numbered(0, 20), numbered(100, 8), numbered(200, 30), numbered(300, 7))


def values(part: Domain) -> list[float]:
    return sorted(part.images.flatten().tolist())


def test_no_label_of_the_target_is_left(domains: Domains) -> None:
    hidden = unlabelled(domains)
    assert [len(part.labels) for part in hidden] == [20, 8, 0, 0]
    assert all(torch.equal(a.images, b.images) for a, b in zip(hidden, domains, strict=True))


def test_halves_share_nothing(domains: Domains) -> None:
    found = halves(domains)
    assert values(found.source) + values(found.target) != values(domains.source)
    assert sorted(values(found.source) + values(found.target)) == values(domains.source)
    assert sorted(values(found.source_test) + values(found.target_test)) == values(domains.source_test)
    for part in found:
        assert torch.equal(part.labels, (part.images.flatten() % 100 % 20).long() % 3)


def test_one_domain_twice_is_told_apart_by_its_images(domains: Domains) -> None:
    assert apart(domains) is domains
    found = apart(domains._replace(source=domains.target, source_test=domains.target_test))
    assert not set(values(found.source_test)) & set(values(found.target_test))
    assert len(found.source_test.labels) == len(found.source_test.images) == 4


def test_translated_in_the_translators_own_normalisation() -> None:
    """Twice the energy, by a network that sees energies in 10 MeV; the classifier sees logarithms."""
    here, there = (
        Detector(normalisation=Normalisation(kind="log", scale=1000, threshold=10)),
        Detector(normalisation=Normalisation(scale=10)),
    )
    cells = np.random.default_rng(0).exponential(100, (5, 2, 3, 3)) * (np.arange(3) > 0)
    images = torch.from_numpy(here.normalisation.forward(cells))
    part = Domain(images, torch.arange(5))
    torch.testing.assert_close(
        recoded(part, here, there).images, torch.from_numpy(cells / 10).float(), rtol=1e-5, atol=0
    )

    class Twice(nn.Module):
        def forward(self, x: Any) -> Any:
            return 2 * x

    found = translated(Domains(part, part, part, part), Twice(), here, there)
    expected = torch.from_numpy(here.normalisation.forward(2 * cells))
    torch.testing.assert_close(found.source.images, expected, rtol=1e-5, atol=1e-6)
    assert (found.source_test.images[..., 0] == 0).all()
    assert torch.equal(found.source.labels, part.labels)
    assert found.target is part
    digits = DigitsConfig(root="x")
    assert recoded(part, digits, digits) is part


class Shown(Source):
    channels, batch_type, classes = {}, Adaptation, ()

    def __init__(self, config: SourceConfig) -> None:
        self.config = config

    def describe(self) -> str:
        return "shown"

    def picture(self, columns: Any) -> Any:
        return self.config


def test_pictures_of_a_translator_are_in_its_normalisation(domains: Domains) -> None:
    here, there = Detector(normalisation=Normalisation(kind="log", scale=1000, threshold=10)), Detector()
    original = Shown(here)
    assert MemorySource(original, domains).picture({}) is here
    assert MemorySource(original, domains, there).picture({}) is there
    assert original.picture({}) is here
    assert MemorySource(original, domains, DigitsConfig(root="x")).picture({}) is None


@pytest.mark.parametrize("name", ["dann_usps2mnist", "dann_mnist2usps", "dann_calorimeter"])
def test_the_configs_variants(name: str) -> None:
    run = load(name)
    found = {variant.name: variant.run.recipe for variant in variants(run)}
    assert {"source_only", "dann", "dann_im", "target_supervised", "null_test"} <= set(found)
    assert found["dann_im"].weights.entropy > found["dann"].weights.entropy == 0
    method = translator(run)
    assert method is not None
    assert not getattr(method.data, "labels", False)


def test_source_only_is_so_in_a_config_with_all_terms() -> None:
    on = ["recipe.weights.entropy=0.1", "recipe.weights.virtual=0.1", "recipe.condition=prediction"]
    alone = {variant.name: variant.run.recipe for variant in variants(load("dann_usps2mnist", on))}["source_only"]
    assert alone == variants(load("dann_usps2mnist"))[0].run.recipe
    assert alone.weights.virtual == alone.weights.entropy == alone.weights.adversarial == 0


def test_a_translator_may_be_changed() -> None:
    run = load("dann_usps2mnist", ["study.translator_set=[schedule.epochs=8, seed=3]"])
    usual, other = translator(load("dann_usps2mnist")), translator(run)
    assert (other.schedule.epochs, other.seed) == (8, 3)
    assert other == usual.model_copy(update={"schedule": other.schedule, "seed": 3})
    sets = ["study.translator=refiner_calorimeter", "study.translator_set=['data.crop=[24, 12]']"]
    with pytest.raises(ConfigError, match=r"study.translator: refiner_calorimeter is of images of 24x12, .* 12x12:"):
        translator(load("dann_calorimeter", sets))
    with pytest.raises(ConfigError, match="translator_set: is of a translator; set translator, too"):
        load("dann_calorimeter", ["study.translator=null", "study.translator_set=[seed=3]"])
    with pytest.raises(ConfigError, match="epochs"):
        translator(load("dann_usps2mnist", ["study.translator_set=[schedule.epoch=8]"]))
