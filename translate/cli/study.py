"""The command that studies domain adaptation: study."""

import argparse
from pathlib import Path

from translate.cli.types import count


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("study", help="domain adaptation, with source-only, oracle, null test and evidence")
    parser.add_argument("--config", required=True, metavar="NAME", help="of a dann run, as dann_usps2mnist.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as data.protocol=sampled")
    parser.add_argument("--seeds", type=count, default=5, metavar="N", help="each variant from seeds 0 to N - 1 (5)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="goes on with what is there (runs/study-CONFIG)")
    parser.add_argument("--variants", nargs="+", default=[], metavar="NAME", help="these alone (default: all)")
    parser.add_argument("--steps", type=count, metavar="N", help="end each training at step N of its schedule")
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="trainings at a time (1)")
    parser.set_defaults(command=_study)


def _study(arguments: argparse.Namespace) -> int:
    from translate.study import study

    page = study(
        arguments.config,
        arguments.set,
        seeds=arguments.seeds,
        out=arguments.out,
        chosen=arguments.variants,
        steps=arguments.steps,
        jobs=arguments.jobs,
    )
    if page is None:
        return 130
    print(page)
    return 0
