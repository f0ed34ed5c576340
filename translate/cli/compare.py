"""The command that compares detector images: compare."""

import argparse
from pathlib import Path

from translate.cli.types import count, seed


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("compare", help="simulated showers against real ones, and refined ones")
    parser.add_argument("simulation", type=Path, metavar="SIM", help="a file of showers, or a folder of npz tiles")
    parser.add_argument("data", type=Path, metavar="DATA", help="the reference")
    parser.add_argument("refined", type=Path, nargs="*", metavar="REFINED", help="what was made of SIM")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("comparison.html"), metavar="REPORT", help="a page; beside it a .json"
    )
    parser.add_argument("--observables", nargs="+", metavar="NAME", help="these alone, as energy fraction width_x")
    parser.add_argument("--events", type=count, default=100_000, metavar="N", help="of each file, the first (100000)")
    parser.add_argument("--threshold", type=float, default=0.0, metavar="E", help="smaller cells count as 0 (0)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of bootstrap and classifier (0)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the files, as unit=GeV")
    parser.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from translate.config.load import mapping
    from translate.config.spec import explain
    from translate.detector.files import FileOptions
    from translate.errors import DataError
    from translate.evaluation.compare import compare
    from translate.evaluation.compare_report import closure, few, write_comparison

    page = arguments.output if arguments.output.suffix in (".html", ".htm") else arguments.output.with_suffix(".html")
    if not page.parent.is_dir():
        raise DataError(f"{page}: there is no such folder; make it first")
    raw = mapping("{}", "--set", arguments.set, "")
    try:
        options = FileOptions.model_validate(raw)
    except ValidationError as error:
        raise explain(error, FileOptions, raw, "--set") from None
    found = compare(
        arguments.simulation,
        arguments.data,
        arguments.refined,
        options=options,
        names=arguments.observables,
        events=arguments.events,
        threshold=arguments.threshold,
        seed=arguments.seed,
    )
    if wanting := few(found):
        print("few events: " + ", ".join(f"{name} wants {number}" for name, number in wanting.items()))
    for label, number in found.common.items():
        print(f"{label}: {number:,} events are in the data, too: its AUC is too low; compare different events")
    for sample in found.samples:
        differ = [name for name, by in found.verdicts.items() if by[sample.label].separation.differs]
        whole = found.whole.get(sample.label)
        apart = f"; AUC {whole.auc.value:.3f} (floor {whole.auc.floor:.3f}), FPD {whole.fpd.value:.3g}" if whole else ""
        print(f"{sample.label}: {len(differ)} of {len(found.verdicts)} observables differ from the data{apart}")
    for sample in found.samples[1:]:
        did = closure(found, sample.label)
        print(
            f"{sample.label}: closed 70 % of S² or more in {did['closed_70']} of {did['differing']} observables; "
            f"harmed: {', '.join(did['harmed']) or 'none'}"
        )
    print(*write_comparison(found, page), sep="\n")
    return 0
