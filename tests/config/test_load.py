from pathlib import Path

import pytest

from translate.config.load import dump, load, locate, parse
from translate.errors import ConfigError

CONFIGS = sorted(Path(__file__).parents[2].joinpath("configs").glob("*.yaml"))
GOOD = "recipe: {kind: cyclegan}\ndata: {kind: unpaired, root: somewhere}\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_reads_and_survives_a_round_trip(path: Path) -> None:
    run = load(path.name)
    assert parse(dump(run), "again") == run
    assert path.read_text(encoding="utf-8").startswith("# "), "line 1 cites the paper"
    assert "et al. 20" in path.read_text(encoding="utf-8").splitlines()[0]


def test_all_wanted_configs_are_there() -> None:
    wanted = (
        "quickstart cyclegan_horse2zebra pix2pix_facades pix2pix_maps cyclegan_monet2photo pix2pix_emoji cyclegan_emoji"
    )
    assert set(wanted.split()) <= {path.stem for path in CONFIGS}


def test_a_name_is_a_path_first_then_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("quickstart.yaml").parent.name == "configs"
    assert locate("quickstart") == locate("quickstart.yaml")
    Path("quickstart.yaml").write_text(GOOD)
    assert locate("quickstart.yaml") == Path("quickstart.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD.replace("cyclegan", "cyclegan, weights: {cylce: 10}"),
            "x.yaml: recipe.weights: unknown key 'cylce' (did you mean 'cycle'?); known: adversarial, cycle, identity",
        ),
        (
            GOOD.replace("kind: cyclegan", "kind: cyclegann"),
            "x.yaml: recipe.kind: unknown recipe 'cyclegann' (did you mean 'cyclegan'?); known: cyclegan, ",
        ),
        (
            GOOD.replace("unpaired", "unpared"),
            "x.yaml: data.kind: unknown kind 'unpared' (did you mean 'unpaired'?); known: ",
        ),
        (
            GOOD.replace("cyclegan", "cyclegan, generator: {kind: resnt}"),
            "x.yaml: recipe.generator: unknown kind 'resnt' (did you mean 'resnet'?); known: ",
        ),
        (
            GOOD.replace("cyclegan", "cyclegan, generator: {kind: resnet, bloks: 9}"),
            "x.yaml: recipe.generator: unknown key 'bloks' (did you mean 'blocks'?); known: batch_norm_at_test, blocks,",
        ),
        (GOOD + "optimzer: {}", "x.yaml: top level: unknown key 'optimzer' (did you mean 'optimizer'?); known: "),
        (GOOD + "optimizer: {kind: adam, lr: fast}", "x.yaml: optimizer.lr: input should be a valid number"),
        (GOOD + "optimizer: {kind: adam, lr: -1}", "x.yaml: optimizer.lr: input should be greater than 0 (got -1)"),
        (GOOD + "optimizer: {kind: adam, lr: .nan}", "x.yaml: optimizer.lr: input should be"),
        (GOOD + "schedule: {kind: linear, epochs: 5, decay_from: 9}", "decay_from 9 is after the last of 5 epochs"),
        (
            GOOD.replace("cyclegan", "cyclegan, weights: {cycle: {start: 10, stop: 1}}"),
            "x.yaml: recipe.weights.cycle: unknown key 'stop'",
        ),
        (
            GOOD.replace("cyclegan", "cyclegan, objective: {kind: wasserstein}"),
            "objective 'wasserstein' has no minimum unless",
        ),
        ("data: {kind: unpaired, root: x}", "x.yaml: recipe: missing"),
        ("recipe: {kind: cyclegan}\ndata: {}", "x.yaml: data: needs a 'kind'"),
        ("recipe: cyclegan\ndata: {}", "x.yaml: recipe: needs a 'kind'"),
        ("- 1", "x.yaml: a config is a mapping"),
        ("a: [", "x.yaml: not valid YAML"),
        ("seed: 1\nseed: 2\n" + GOOD, "key 'seed' stands twice"),
    ],
)
def test_a_mistake_names_file_key_and_what_was_meant(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(GOOD + "sead: 1\nema: 7", "x.yaml")
    assert len(str(caught.value).splitlines()) == 2


def test_numbers_as_people_write_them() -> None:
    assert parse(GOOD + "optimizer: {kind: adam, lr: 2e-4}", "x").optimizer.lr == 2e-4


def test_off_may_be_written_bare() -> None:
    assert parse(GOOD + "log: {wandb: off}", "x").log.wandb == "off"
    assert parse(GOOD, "x", ["log.wandb=off"]).log.wandb == "off"
    with pytest.raises(ConfigError, match=r"log\.wandb"):
        parse(GOOD + "log: {wandb: on}", "x")


def test_overrides_go_through_the_same_checks() -> None:
    run = parse(
        GOOD, "x", ["recipe.weights.cycle=5", "seed=3", "recipe.penalties=[{kind: r1}]", "recipe.penalties.0.weight=2"]
    )
    dumped = run.model_dump()
    assert (dumped["recipe"]["weights"]["cycle"], run.seed, dumped["recipe"]["penalties"][0]["weight"]) == (5, 3, 2)
    with pytest.raises(ConfigError, match="unknown key 'cylce'"):
        parse(GOOD, "x", ["recipe.weights.cylce=5"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.weights", "write key.path=value"),
        ("=3", "write key.path=value"),
        ("seed.x=3", "seed is 0, it has no keys"),
        ("seed=[", "not valid YAML"),
        ("recipe.penalties.7.weight=1", "recipe.penalties is a list of 1"),
    ],
)
def test_a_broken_override_is_shown(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(GOOD + "seed: 0\n", "x", ["recipe.penalties=[{kind: r1}]", override])
    assert message in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'quickstart.yaml'"):
        load("quickstar.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path))
