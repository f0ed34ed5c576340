"""Commands that bring files of detector images through networks: refine, generate."""

import argparse
from pathlib import Path

from translate.cli.types import count, seed


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    refine = commands.add_parser("refine", help="translate files of detector images")
    refine.add_argument("input", type=Path, metavar="INPUT", help="HDF5, npz, ROOT or FITS, or a folder of npz tiles")
    refine.add_argument("output", type=Path, metavar="OUTPUT", help="a file of any such format, or a folder")
    refine.add_argument("--model", type=Path, required=True, metavar="M", help="a run folder, a checkpoint or an .onnx")
    refine.add_argument("--direction", metavar="NAME", help="the network of a run that has several, as a2b")
    refine.add_argument("--unit", metavar="UNIT", help="of the cells, where the file does not say: MeV, ADC, …")
    refine.add_argument("--seed", type=seed, default=0, metavar="N", help="of the noise of stochastic models (0)")
    refine.set_defaults(command=_refine)

    generate = commands.add_parser("generate", help="showers from a conditional generator into a file")
    generate.add_argument("model", type=Path, metavar="RUN", help="a run folder, a checkpoint or an .onnx")
    generate.add_argument("output", type=Path, metavar="OUTPUT", help="a file: .h5, .npz, .root or .fits")
    generate.add_argument("--count", type=count, default=1000, metavar="N")
    generate.add_argument("--energy", type=float, nargs=2, required=True, metavar=("LOW", "HIGH"), help="GeV, uniform")
    generate.add_argument("--particle", metavar="NAME", help="one type (default: all in turn)")
    generate.add_argument("--seed", type=seed, default=0, metavar="N")
    generate.set_defaults(command=_generate)


def _refine(arguments: argparse.Namespace) -> int:
    from translate.detector.files import FileOptions
    from translate.inference.showers import refine

    done = refine(
        arguments.input,
        arguments.output,
        arguments.model,
        direction=arguments.direction,
        options=FileOptions(unit=arguments.unit),
        seed=arguments.seed,
    )
    print(f"{arguments.output}: {done} events")
    return 0


def _generate(arguments: argparse.Namespace) -> int:
    from translate.inference.showers import generate

    done = generate(
        arguments.model,
        arguments.output,
        arguments.count,
        energy=tuple(arguments.energy),
        particle=arguments.particle,
        seed=arguments.seed,
    )
    print(f"{arguments.output}: {done} showers")
    return 0
