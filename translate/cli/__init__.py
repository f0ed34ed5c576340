"""The command line: `translate COMMAND …`, `python -m translate COMMAND …`. Nothing heavy is imported to parse it."""

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence

from translate import __version__
from translate.cli import compare, evaluate, models, showers, simulate, study, train
from translate.errors import TranslateError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 2 a mistake that the user can mend, 130 stopped from outside."""
    parsed = _parser().parse_args(arguments)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it reads what every installed package declares
    atexit.register(gc.freeze)  # searching all that is left at the end for garbage takes longer than opening a model
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
    for part in (train, evaluate, models, simulate, compare, showers, study):
        part.add(commands)
    return parser
