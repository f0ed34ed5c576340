"""Commands that train, and that look at data and runs: train, data, report, toy."""

import argparse
import os
import sys
from pathlib import Path

from translate.cli.types import count, seed


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _train_arguments(commands.add_parser("train", help="train a translator from a config"))

    data = commands.add_parser("data", help="look at training data").add_subparsers(required=True, metavar="COMMAND")
    check = data.add_parser("check", help="what is in a folder: counts, sizes, unreadable files, pairs, duplicates")
    check.add_argument("root", type=Path, metavar="ROOT")
    check.set_defaults(command=_check)

    toy = commands.add_parser("toy", help="figures for teaching, from small experiments")
    toy.add_argument("name", choices=["clipping", "divergences", "gradients", "modes"])
    toy.add_argument("-o", "--output", type=Path, metavar="FILE", help="a .png, .svg or .pdf (NAME.png)")
    toy.add_argument("--steps", type=count, metavar="N", help="of training (default: the figure's own)")
    toy.add_argument("--seed", type=seed, metavar="N", help="of what is trained (0)")
    toy.set_defaults(command=_toy)

    report = commands.add_parser("report", help="write a run's report.html again")
    report.add_argument("run", type=Path, metavar="RUN")
    report.set_defaults(command=_report)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="NAME", help="a file, or a name in configs/, as cyclegan_horse2zebra.yaml")
    what.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run folder, to the last bit")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as recipe.weights.cycle=5")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run folder (default: runs/CONFIG-TIME)")
    parser.add_argument("--steps", type=count, metavar="N", help="end at step N of the schedule")
    parser.add_argument("--dry-run", action="store_true", help="check and print the resolved config, and stop")
    parser.set_defaults(command=_train)


def _train(arguments: argparse.Namespace) -> int:
    # Huge pages for large tensors, which torch asks for at its first allocation: a tenth of a U-Net's step on a CPU.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from translate.training.start import train

    ended = train(
        arguments.config,
        arguments.set,
        arguments.out,
        arguments.resume,
        arguments.steps,
        arguments.dry_run,
    )
    if (settings := ended.export) is not None:
        from translate.inference.export import export

        precision, noise, licence = settings.precision, settings.noise, settings.licence
        for path in export(ended.folder, precision=precision, noise=noise, licence=licence):
            print(f"export: {path}")
    return 0 if ended.finished else 130


def _toy(arguments: argparse.Namespace) -> int:
    from translate.toy import write

    print(write(arguments.name, arguments.output, steps=arguments.steps, seed=arguments.seed))
    return 0


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
