"""Tables, choices and alarms from cells made up by hand."""

from typing import Any

import pytest

from translate.config.load import load, parse
from translate.errors import ConfigError
from translate.study.report import plain
from translate.study.summary import alarms, closed, selection, table
from translate.study.variants import select, variants

RUN = parse("recipe: {kind: dann}\ndata: {kind: digits, root: x}", "x")
VARIANTS = variants(RUN)


def cell(accuracy: float, source: float = 0.9, **keys: Any) -> dict[str, Any]:
    probe = {"distance": 0.3, "low": 0.2, "high": 0.4, "error": 0.4}
    return {
        "seed": 0,
        "steps": 10,
        "seconds": 3.0,
        "unlabelled": {
            "source": {"accuracy": source, "calibration": 0.01, "priors": [0.5, 0.5]},
            "information": keys.get("information", 0.5),
            "dev": {"value": keys.get("dev", 1.0), "effective": 100.0},
            "entropy": keys.get("entropy", 0.1),
            "logistic": probe,
            "trees": probe | keys.get("trees", {}),
            "shares": keys.get("shares", [0.5, 0.5]),
            "priors": {"em": keys.get("em", [0.5, 0.5]), "bbse": keys.get("bbse", [0.5, 0.5])},
        },
        "labelled": {"accuracy": accuracy, "calibration": 0.05, "of": 2000, "classes": [accuracy, None]},
    }


def test_means_and_deviations() -> None:
    row = table({"dann": {0: cell(0.8), 1: cell(0.9)}})["dann"]
    assert row["accuracy"]["mean"] == pytest.approx(0.85)
    assert row["accuracy"]["deviation"] == pytest.approx(0.0707, abs=1e-4)
    assert row["classes"] == [pytest.approx(0.85), None]
    assert table({"dann": {0: cell(0.8)}})["dann"]["accuracy"]["deviation"] is None


def test_numbers_of_the_table_are_short() -> None:
    assert plain({"mean": 254.26, "deviation": 248.3}) == "254 ± 248"
    assert plain({"mean": 1500.0, "deviation": 0.0}) == "1,500 ± 0"
    assert plain({"mean": 0.47414, "deviation": 0.00951}) == "0.474 ± 0.0095"
    assert plain({"mean": 53.2, "deviation": None}) == "53.2"


def test_what_is_chosen_and_what_the_gate_keeps_out() -> None:
    cells = {
        "source_only": {0: cell(0.7, information=9.0)},
        "dann": {0: cell(0.8, information=0.4, dev=0.3, entropy=0.2)},
        "cdan": {0: cell(0.9, information=0.6, dev=0.5, entropy=0.3)},
        "target_supervised": {0: cell(0.95, information=9.0)},
    }
    found = selection(cells, VARIANTS)
    assert {name: entry["chosen"][0] for name, entry in found.items()} == {
        "information": "cdan",
        "dev": "dann",
        "entropy": "dann",
    }
    assert found["information"]["accuracy"]["mean"] == 0.9
    cells["cdan"] = {0: cell(0.9, source=0.87, information=0.6, dev=0.1)}
    assert selection(cells, VARIANTS)["information"]["chosen"][0] == "dann"
    assert alarms(cells, VARIANTS)["unlabelled"] == ["cdan, seed 0: lost more than 2% of the accuracy on the source"]


def test_even_shares_are_no_merit_where_the_target_has_others() -> None:
    cells = {
        "source_only": {0: cell(0.9, em=[0.2, 0.8], bbse=[0.15, 0.85])},
        "dann": {0: cell(0.7, information=0.65, shares=[0.45, 0.55])},
        "cdan": {0: cell(0.9, information=0.48, shares=[0.2, 0.8])},
    }
    # −Σ p ln q: 0.85 of the one, 0.50 of the other
    assert selection(cells, VARIANTS)["information"]["chosen"][0] == "cdan"
    cells["cdan"][0]["unlabelled"]["information"] = 0.29
    assert selection(cells, VARIANTS)["information"]["chosen"][0] == "dann"  # certain of nothing
    cells["cdan"][0]["unlabelled"]["information"] = 0.48
    cells["source_only"][0]["unlabelled"]["priors"]["bbse"] = [0.4, 0.6]
    assert selection(cells, VARIANTS)["information"]["chosen"][0] == "dann"
    del cells["source_only"]
    assert selection(cells, VARIANTS)["information"]["chosen"][0] == "dann"


def test_alarms() -> None:
    cells = {
        "source_only": {0: cell(0.9), 1: cell(0.9)},
        "dann": {0: cell(0.86, shares=[0.96, 0.04]), 1: cell(0.89)},
        "null_source_only": {0: cell(0.9, source=0.95), 1: cell(0.9)},
        "null_test": {0: cell(0.9, source=0.9, trees={"low": 0.05}), 1: cell(0.9)},
    }
    found = alarms(cells, VARIANTS)
    assert found["labelled"] == ["dann, seed 0: negative transfer: 4.0% below source-only"]
    assert found["unlabelled"] == [
        "dann, seed 0: collapse: on the target hardly anything is called class 1",
        "null_test, seed 0: the logistic probe tells equal domains apart: 0.30",
        "null_test, seed 0: adaptation to the same domain cost 5.0% of the accuracy",
        "null_test, seed 1: the logistic probe tells equal domains apart: 0.30",
        "null_test, seed 1: the trees probe tells equal domains apart: 0.30",
    ]


def test_an_alarm_for_other_class_priors() -> None:
    """By the network that was not adapted, and by both estimates: a classifier that is wrong about a class has one."""
    cells = {
        "source_only": {0: cell(0.9, em=[0.75, 0.25], bbse=[0.8, 0.2]), 1: cell(0.9, em=[0.75, 0.25])},
        "dann": {0: cell(0.9, em=[0.8, 0.2], bbse=[0.8, 0.2])},
    }
    (found,) = alarms(cells, VARIANTS)["unlabelled"]
    assert found.startswith("source_only, seed 0: class priors seem to be others in the target, by 0.25:")
    assert "recipe.class_weighting=true" in found


def test_gap() -> None:
    rows = table({name: {0: cell(a)} for name, a in (("source_only", 0.6), ("dann", 0.9), ("target_supervised", 1.0))})
    assert closed(rows, "dann") == pytest.approx(0.75)
    assert closed({"dann": rows["dann"]}, "dann") is None


def test_variants_of_a_config() -> None:
    text = "recipe: {kind: dann}\ndata: {kind: digits, root: x}\nstudy: {variants: {w: ['recipe.weights.entropy=0.2']}}"
    found = {variant.name: variant for variant in variants(parse(text, "x"))}
    assert list(found) == ["source_only", "w", "target_supervised", "null_source_only", "null_test"]
    assert found["w"].run.recipe.weights.entropy == 0.2
    alone = found["source_only"].run.recipe
    assert (alone.weights.adversarial, alone.weights.entropy, alone.condition) == (0, 0, "none")
    assert [name for name, variant in found.items() if variant.adapted] == ["w"]


def test_any_variant_on_translated_images_where_it_is_asked_for() -> None:
    run = load("dann_usps2mnist")
    known = variants(run)
    usual = [variant.name for variant in select(known, []) if variant.translated]
    assert usual == ["translated", "translated+dann"]
    (both,) = select(known, ["translated+cdan_im"])
    assert both.translated
    assert both.run.recipe == next(variant for variant in known if variant.name == "cdan_im").run.recipe
    with pytest.raises(ConfigError, match=r"translated\+nothing"):
        select(known, ["translated+nothing"])
