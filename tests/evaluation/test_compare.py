"""The comparison of samples whose distances are known, and the page and file that it writes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, wasserstein_distance

from translate.cli import main
from translate.detector.files import FileOptions, write_showers
from translate.detector.showers import Showers
from translate.errors import DataError
from translate.evaluation.compare import _area, _common, _edges, _largest_gap, compare
from translate.evaluation.compare_report import as_json, closure, write_comparison
from translate.evaluation.observables import histogram, separation


def gaussian(path: Path, mean: float, seed: int, count: int = 1500) -> Path:
    """Two layers of 1x2 cells with ΣE of N(`mean`, 1) MeV, shared at random: `energy` alone tells means apart."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(4, 5), count).reshape(count, 2, 1, 2)
    cells = shares * rng.normal(mean, 1, count)[:, None, None, None]
    write_showers(path, [Showers.of(cells, np.full(count, mean / 900, np.float32))])
    return path


def exact_separation(shift: float) -> float:
    """Of two normals: ½ ∫ (p − q)²/(p + q)."""
    p, q = norm.pdf, lambda x: norm.pdf(x - shift)
    return 0.5 * quad(lambda x: (p(x) - q(x)) ** 2 / (p(x) + q(x)), -9, 9 + shift)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def shifted(folder: Path):
    """Data at 20, simulation one deviation above, refined samples at half and at twice that, and one that is data."""
    files = {"data": 20.0, "sim": 21.0, "half": 20.5, "twice": 22.0, "perfect": 20.0}
    paths = {name: gaussian(folder / f"{name}.h5", mean, seed) for seed, (name, mean) in enumerate(files.items())}
    refined = [paths[name] for name in ("half", "twice", "perfect")]
    return compare(paths["sim"], paths["data"], refined, names=["energy", "fraction", "e_ratio"], splits=2)


def test_two_normals_one_deviation_apart(shifted):
    """physics.md: S² 0.2041, AUC 0.7602, JSD/ln 2 0.1607; KS is 2Φ(½) − 1, W₁ is the shift."""
    found, whole = shifted.verdicts["energy"]["sim"], shifted.whole["sim"]
    assert exact_separation(1.0) == pytest.approx(0.2041, abs=1e-4)
    assert found.separation.value - found.separation.floor == pytest.approx(0.2041, abs=4 * found.separation.deviation)
    assert found.wasserstein.value == pytest.approx(1, abs=4 * found.wasserstein.deviation)
    assert found.ks.value == pytest.approx(0.3829, abs=4 * found.ks.deviation)
    assert (found.mean, found.width) == (pytest.approx(21, abs=0.05), pytest.approx(1, abs=0.05))
    assert found.chi2.value > 8 * found.degrees
    assert whole.auc.value == pytest.approx(0.7602, abs=0.06)
    assert whole.jsd.value == pytest.approx(0.1607, abs=0.12)
    assert whole.p_value < 0.01
    assert whole.auc.floor == pytest.approx(0.5, abs=0.07)
    assert whole.image.value == pytest.approx(1 / 20, abs=0.01)
    for measure in (found.separation, found.wasserstein, found.ks, found.chi2, whole.fpd, whole.auc, whole.image):
        assert measure.differs
        assert measure.low <= measure.value <= measure.high


def test_what_is_equal_stays_on_the_floor(shifted):
    other = [shifted.verdicts[name] for name in shifted.observables if name != "energy"]
    measures = [v.separation for by in other for v in by.values()] + [v.ks for by in other for v in by.values()]
    assert len(measures) == 2 * 3 * 4
    assert np.mean([m.differs for m in measures]) < 0.3
    assert all(abs(m.value - m.floor) < 5 * m.floor_deviation for m in measures)
    perfect = shifted.whole["perfect"]
    assert perfect.auc.value == pytest.approx(0.5, abs=0.07)
    assert abs(perfect.correlation.value - perfect.correlation.floor) < 4 * perfect.correlation.floor_deviation
    assert perfect.image.value < 5 * perfect.image.floor
    found = shifted.verdicts["energy"]["perfect"]
    assert found.chi2.floor == pytest.approx(found.degrees, abs=3)


def test_what_refining_closed_and_harmed(shifted):
    by = shifted.verdicts["energy"]
    assert by["sim"].closed is None
    expected = 1 - exact_separation(0.5) / exact_separation(1.0)
    half = by["half"].closed
    assert half.share == pytest.approx(expected, abs=0.1)
    assert half.low < half.share < half.high
    assert half.high - half.low < 0.2
    assert not half.harmed
    assert by["perfect"].closed.share == pytest.approx(1, abs=0.05)
    assert by["twice"].closed.share < -1
    assert by["twice"].closed.harmed
    said = closure(shifted, "twice")
    assert (said["worst_observable"], said["closed_70"]) == ("energy", 0)
    assert "energy" in said["harmed"]
    assert "energy" not in closure(shifted, "perfect")["harmed"]


def test_deviation_and_floor_are_those_of_repeated_experiments(tmp_path):
    count, edges = 1500, None
    rng = np.random.default_rng(5)
    found = compare(
        gaussian(tmp_path / "sim.h5", 20.6, 1, count), gaussian(tmp_path / "data.h5", 20, 2, count), names=["energy"]
    )
    measure, edges = found.verdicts["energy"]["sim"].separation, found.edges["energy"]
    pairs = [(rng.normal(20, 1, count), rng.normal(20.6, 1, count)) for _ in range(300)]
    fresh = [separation(*histogram(x, y, edges)[1:]) for x, y in pairs]
    equal = [separation(*histogram(x, y - 0.6, edges)[1:]) for x, y in pairs]
    assert measure.deviation == pytest.approx(np.std(fresh), rel=0.25)
    assert measure.floor == pytest.approx(np.mean(equal), rel=0.15)
    assert measure.floor_deviation == pytest.approx(np.std(equal), rel=0.25)
    assert abs(measure.value - np.mean(fresh)) < 4 * np.std(fresh)


def test_statistics_of_fine_bins_are_those_of_samples():
    x, y = np.random.default_rng(0).normal(size=(2, 3000))
    edges = np.quantile(np.concatenate([x, y + 0.3]), np.linspace(0, 1, 512))
    binned = histogram(x, y + 0.3, edges)
    gaps = np.concatenate([[0], np.diff(edges), [0]])
    assert _area(gaps)(binned.x, binned.y) == pytest.approx(wasserstein_distance(x, y + 0.3), rel=0.01)
    both = np.sort(np.concatenate([x, y + 0.3]))
    gap = (
        np.abs(np.searchsorted(np.sort(x), both, "right") - np.searchsorted(np.sort(y + 0.3), both, "right")).max()
        / 3000
    )
    assert _largest_gap(binned.x, binned.y) == pytest.approx(gap, abs=0.003)


def test_bins_suit_what_is_in_them():
    rng = np.random.default_rng(0)
    steady, heavy = rng.normal(5, 1, 5000), np.exp(rng.normal(0, 2, 5000))
    np.testing.assert_allclose(np.diff(_edges(steady)), np.ptp(np.quantile(steady, [0.005, 0.995])) / 40)
    np.testing.assert_allclose(np.diff(np.log(_edges(heavy))), np.ptp(np.log(np.quantile(heavy, [0.005, 0.995]))) / 40)
    np.testing.assert_allclose(_edges(rng.integers(0, 5, 5000) / 81), (np.arange(6) - 0.5) / 81)
    pairs = _edges(np.append(np.repeat(np.arange(60.0), 100), np.nan))
    np.testing.assert_allclose(pairs, np.arange(-0.5, 60, 2))
    np.testing.assert_allclose(_edges(np.full(9, 3.0))[[0, -1]], [3, 6])


def test_the_same_seed_gives_the_same_digits_and_events_are_the_first(shifted, folder):
    again = [
        compare(folder / "sim.h5", folder / "data.h5", names=["energy"], events=60, splits=2, seed=3) for _ in range(2)
    ]
    assert json.dumps(as_json(again[0])) == json.dumps(as_json(again[1]))
    assert as_json(again[0])["data"] | {"path": ""} == {"label": "data", "path": "", "events": 1500, "used": 60}


def test_events_of_both_files_are_counted(tmp_path, capsys):
    """A fifth of the simulation is data, in another order; empty events of both are not the same event."""
    rng = np.random.default_rng(0)
    data, cells = rng.exponential(1, (2, 300, 2, 2, 2))
    cells[::5] = data[::-5]
    for name, of_name in (("data", data), ("sim", cells), ("mine", rng.exponential(1, cells.shape))):
        of_name[:30] = 0
        write_showers(tmp_path / f"{name}.h5", [Showers.of(of_name)])
    paths = [str(tmp_path / f"{name}.h5") for name in ("sim", "data", "mine")]
    assert main(["compare", *paths, "--observables", "energy", "peak", "-o", str(tmp_path / "x.html")]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "too" in line]
    assert said == ["sim: 48 events are in the data, too: its AUC is too low; compare different events"]
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["common"] == {"sim": 48}
    assert "48 events of sim are in the data, too" in Page((tmp_path / "x.html").read_text(encoding="utf-8")).text
    numbers = np.arange(600.0)[:, None]
    assert (_common(numbers[:300], numbers[297:]), _common(numbers[:300], numbers[298:])) == (3, 0)  # chance, perhaps


class Page(HTMLParser):
    """Checks that tags nest; collects sources and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_the_json_has_every_number(shifted, tmp_path):
    page, beside = write_comparison(shifted, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    read = Page(page.read_text(encoding="utf-8"))
    assert all(link.startswith(("data:", "#")) for link in read.links)
    assert sum(link.startswith("data:image/svg+xml") for link in read.links) >= len(shifted.observables) + 4 + 1
    for name in (*shifted.observables, "FPD", "harmed", "Correlations", "Mean images"):
        assert name in read.text
    content = json.loads(beside.read_text(encoding="utf-8"))
    energy = content["observables"]["energy"]["samples"]["half"]
    assert energy["separation"]["value"] == shifted.verdicts["energy"]["half"].separation.value
    assert energy["separation"]["differs"] is True
    assert set(energy["separation"]) == {"value", "low", "high", "deviation", "floor", "floor_deviation", "differs"}
    assert set(content["together"]["samples"]) == {"sim", "half", "twice", "perfect"}
    assert [one["label"] for one in content["refined"]] == ["half", "twice", "perfect"]
    assert content["observables"]["energy"]["unit"] == "MeV"


def test_names_of_files_cannot_become_tags(tmp_path):
    hostile = "<script>alert(1)<!--'\"&amp;"
    paths = [gaussian(tmp_path / f"{name}.h5", 20, seed, 300) for seed, name in enumerate((hostile, "data"))]
    page, _ = write_comparison(compare(*paths, names=["energy", "e_ratio"], splits=2), tmp_path / "x.html")
    assert "<script" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["calogan", "footprint"])
def test_other_detectors(tmp_path, kind):
    """Layers of different cells; signals and times, where some events have no front and stations are whole numbers."""
    rng = np.random.default_rng(0)
    options = FileOptions(unit=("VEM", "ns") if kind == "footprint" else None)
    for name in ("sim", "data"):
        if kind == "calogan":
            shapes = ((3, 96), (12, 12), (12, 6))
            layers = tuple(rng.exponential(9, (200, *s)) * (rng.random((200, *s)) < 0.2) for s in shapes)
        else:
            signal = rng.exponential(9, (200, 5, 5)) * (rng.random((200, 5, 5)) < 0.3)
            layers = (signal, np.where(signal > 0, rng.normal(0, 50, signal.shape), 0))
        energy = np.geomspace(1, 100, 200).astype(np.float32)
        write_showers(tmp_path / f"{name}.h5", [Showers(layers, energy, np.zeros(200, np.int64))], options)
    names = ["signal", "response", "stations", "front_x"] if kind == "footprint" else ["response", "fraction", "ring"]
    found = compare(tmp_path / "sim.h5", tmp_path / "data.h5", names=names, splits=2)
    assert len(found.observables) == (4 if kind == "footprint" else 1 + 3 + 6)
    if kind == "footprint":
        assert 0 < found.verdicts["front_x"]["sim"].undefined < 0.5
        assert (found.edges["stations"] % 1 == 0.5).all()
    assert set(found.responses) == {"sim", "data"}
    Page(write_comparison(found, tmp_path / "x.html")[0].read_text(encoding="utf-8"))


def test_what_cannot_be_compared(tmp_path, folder, shifted):
    data = folder / "data.h5"
    write_showers(tmp_path / "other.h5", [Showers.of(np.ones((20, 3, 1, 2)))])
    with pytest.raises(DataError, match=r"other.h5: has layers \[\(1, 2\), \(1, 2\), \(1, 2\)\] where .*data.h5 has"):
        compare(tmp_path / "other.h5", data)
    write_showers(tmp_path / "adc.h5", [Showers.of(np.ones((20, 2, 1, 2)))], FileOptions(unit="ADC"))
    with pytest.raises(DataError, match=r"adc.h5: has units \['ADC', 'ADC'\]"):
        compare(tmp_path / "adc.h5", data)
    with pytest.raises(DataError, match=r"unknown observable 'enrgy' \(did you mean 'energy'\?\)"):
        compare(folder / "sim.h5", data, names=["enrgy"])
    with pytest.raises(DataError, match="is given more than once"):
        compare(data, data)
    write_showers(tmp_path / "empty.h5", [Showers.of(np.zeros((20, 2, 1, 2)))])
    with pytest.raises(DataError, match="none of width_0 is defined"):
        compare(tmp_path / "empty.h5", data, names=["width_0"])


def test_command(tmp_path, folder, shifted, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["compare", str(folder / "sim.h5"), str(folder / "data.h5"), str(folder / "half.h5")]
    assert main([*arguments, "--observables", "energy", "peak", "--events", "500", "-o", "r.json"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^sim: [12] of 2 observables differ from the data; AUC 0\.\d+ \(floor 0\.\d+\)", said, re.M)
    assert "few events: separation wants 1000, kpd wants 5000, fpd wants 50000" in said
    assert "half: closed 70 % of S² or more in" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"]
    for extra, message in [
        (["--set", "unit=GeV"], "layer_0: the file says MeV, `unit` says GeV"),
        (["--set", "unti=GeV"], "--set: top level: unknown key 'unti' (did you mean 'unit'?)"),
        (["--observables", "x"], "unknown observable 'x'"),
        (["-o", "none/r"], "none/r.html: there is no such folder; make it first"),
    ]:
        assert main([*arguments, "--observables", "energy", "--events", "50", *extra]) == 2
        assert message in capsys.readouterr().err
