"""The command line: `translate COMMAND …`, `python -m translate COMMAND …`. Nothing heavy is imported to parse it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from translate import __version__
from translate.errors import TranslateError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 2 a mistake that the user can mend, 130 stopped from outside."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.command(parsed)
    except TranslateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("translate", description="Train and use image-to-image translators.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_train_arguments(commands.add_parser("train", help="train a translator from a config"))

    data = commands.add_parser("data", help="look at training data").add_subparsers(required=True, metavar="COMMAND")
    check = data.add_parser("check", help="what is in a folder: counts, sizes, unreadable files, pairs, duplicates")
    check.add_argument("root", type=Path, metavar="ROOT")
    check.set_defaults(command=_check)

    report = commands.add_parser("report", help="write a run's report.html again")
    report.add_argument("run", type=Path, metavar="RUN")
    report.set_defaults(command=_report)
    return parser


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="NAME", help="a file, or a name in configs/, as cyclegan_horse2zebra.yaml")
    what.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run folder, to the last bit")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as recipe.weights.cycle=5")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run folder (default: runs/CONFIG-TIME)")
    parser.add_argument("--steps", type=_count, metavar="N", help="end at step N of the schedule")
    parser.add_argument("--dry-run", action="store_true", help="check and print the resolved config, and stop")
    parser.set_defaults(command=_train)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _train(arguments: argparse.Namespace) -> int:
    # Huge pages for large tensors, which torch asks for at its first allocation: a tenth of a U-Net's step on a CPU.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from translate.training.start import train

    finished = train(
        arguments.config,
        arguments.set,
        arguments.out,
        arguments.resume,
        arguments.steps,
        arguments.dry_run,
    )
    return 0 if finished else 130


def _check(arguments: argparse.Namespace) -> int:
    from translate.data.check import check

    report = check(arguments.root, progress=sys.stderr.isatty())
    print(report)
    return 1 if report.problems else 0


def _report(arguments: argparse.Namespace) -> int:
    from translate.errors import DataError
    from translate.training.report import write_report

    if not (arguments.run / "config.yaml").is_file():
        raise DataError(f"{arguments.run}: not a run folder: it has no config.yaml")
    print(write_report(arguments.run))
    return 0
