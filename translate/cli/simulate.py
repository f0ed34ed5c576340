"""The command that makes showers: simulate."""

import argparse
from pathlib import Path

from translate.cli.types import count, seed


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("simulate", help="showers of the built-in detector simulator, in a file")
    parser.add_argument("config", metavar="CONFIG", help="calorimeter, airshower, or a YAML file with keys of one")
    parser.add_argument("output", type=Path, metavar="OUT", help="a new .npz, .h5, .root or .fits")
    parser.add_argument("--count", type=count, required=True, metavar="N", help="events")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="which set of events (0)")
    parser.add_argument("--start", type=int, default=0, metavar="I", help="the number of the first event (0)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as differences.gain=0.97")
    parser.set_defaults(command=_simulate)


def _simulate(arguments: argparse.Namespace) -> int:
    from translate.detector.files import FileOptions, write_showers
    from translate.detector.simulator import read_detector, simulate_chunks

    config = read_detector(arguments.config, arguments.set)
    chunks = simulate_chunks(config, arguments.count, seed=arguments.seed, start=arguments.start)
    made = write_showers(arguments.output, chunks, FileOptions(unit=config.units))
    named = ", ".join(config.differences.named()) or "none"
    print(f"{arguments.output}: {made} events, {config.kind}, differences: {named}")
    return 0
