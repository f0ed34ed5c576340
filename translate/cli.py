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

    add_model_commands(commands)
    add_sample_arguments(commands.add_parser("sample", help="pictures from a generator: grid, folder, animated walk"))
    add_serve_arguments(commands.add_parser("serve", help="a web page that uses models"))

    toy = commands.add_parser("toy", help="figures for teaching, from small experiments")
    toy.add_argument("name", choices=["clipping", "divergences", "gradients", "modes"])
    toy.add_argument("-o", "--output", type=Path, metavar="FILE", help="a .png, .svg or .pdf (NAME.png)")
    toy.add_argument("--steps", type=_count, metavar="N", help="of training (default: the figure's own)")
    toy.add_argument("--seed", type=_seed, metavar="N", help="of what is trained (0)")
    toy.set_defaults(command=_toy)

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


def add_model_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = commands.add_parser("export", help="a run or checkpoint as ONNX, one file a network")
    export.add_argument("run", type=Path, metavar="RUN", help="a run folder, a checkpoint or an imported model.pt")
    export.add_argument("-o", "--output", type=Path, metavar="PATH", help="a folder, or one FILE.onnx (RUN/export)")
    export.add_argument("--direction", metavar="NAME", help="one network alone, as a2b or b2a (default: all)")
    export.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp32")
    export.add_argument("--noise", action="store_true", help="keep dropout as noise, driven by a seed")
    export.add_argument("--licence", metavar="TEXT", help="of the training data, kept in the file")
    export.set_defaults(command=_export)

    published = commands.add_parser("import", help="published pix2pix and CycleGAN weights (latest_net_G.pth)")
    published.add_argument("weights", type=Path, metavar="FILE.pth")
    published.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="model.pt or model.onnx")
    published.add_argument("--architecture", metavar="NAME", help="unet_256, resnet_9blocks, …: what it must be")
    published.add_argument("--name", help="what to call the model (default: from the file)")
    published.add_argument(
        "--statistics",
        choices=["image", "running"],
        default="image",
        help="of batch norm: each picture's own, as the published test script (default), or those of the training",
    )
    published.add_argument("--noise", action="store_true", help="keep dropout as noise, driven by a seed")
    published.add_argument("--licence", metavar="TEXT", help="of the training data, kept in the file")
    published.set_defaults(command=_import)

    batch = commands.add_parser("batch", help="translate files, folders and arrays")
    batch.add_argument("input", metavar="INPUT", help="a file, a folder, a 'glob*', .npy, .npz or .h5")
    batch.add_argument("output", type=Path, metavar="OUTPUT", help="a folder; a file for one input")
    batch.add_argument("--model", type=Path, required=True, metavar="M", help="an .onnx, a checkpoint or a run folder")
    batch.add_argument("--direction", metavar="NAME", help="the network of a run that has several, as a2b")
    batch.add_argument("--recursive", action="store_true", help="folders within the folder, too")
    batch.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the noise of stochastic models (0)")
    batch.add_argument("--tile", type=_tile, default="auto", metavar="SIZE", help="auto, off, or pixels a side (auto)")
    batch.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto")
    batch.add_argument("--backend", choices=["auto", "onnxruntime", "openvino", "torch"], default="auto")
    batch.add_argument("--batch-size", type=_count, default=1, metavar="N", help="pictures of one size at a time (1)")
    batch.add_argument("--workers", type=_count, metavar="N", help="pictures in hand at a time (default: one a core)")
    batch.add_argument("--format", choices=["keep", "png", "jpeg", "webp", "tiff", "npy"], default="keep")
    batch.add_argument("--skip-existing", action="store_true", help="leave outputs that are there, whoever wrote them")
    batch.add_argument("--on-error", choices=["skip", "fail"], default="skip", help="what an unusable input does")
    batch.add_argument("--side-by-side", action="store_true", help="input and output in one picture")
    batch.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster: auto, or its address (extra: ray)")
    batch.set_defaults(command=_batch)


def add_sample_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, a checkpoint or an .onnx")
    parser.add_argument("--count", type=_count, default=64, metavar="N", help="pictures, or stations of a walk (64)")
    parser.add_argument("--label", metavar="NAME", help="the class of all, by name or number (default: all in turn)")
    parser.add_argument("--truncation", type=float, metavar="T", help="latent numbers within ±T, as 0.7: less varied")
    parser.add_argument("--interpolate", choices=["slerp", "lerp"], help="a closed walk: great circles, straight lines")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="a grid .png, a folder, or an animated .webp or .gif"
    )
    parser.set_defaults(command=_sample)


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        required=True,
        metavar="M",
        help="an .onnx, checkpoint or run; repeatable",
    )
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--auth", metavar="USER:PASSWORD|FILE", help="a login; FILE has one USER:PASSWORD a line")
    parser.add_argument("--examples", type=Path, metavar="DIR", help="pictures to try")
    parser.add_argument("--max-upload-mb", type=_count, default=32, metavar="N")
    parser.add_argument("--max-megapixels", type=_count, default=32, metavar="N")
    parser.add_argument("--queue", type=_count, default=32, metavar="N", help="requests that may wait (32)")
    parser.add_argument("--concurrency", type=_count, default=1, metavar="N", help="requests at work at a time (1)")
    parser.add_argument("--time-limit", type=_count, default=120, metavar="SECONDS", help="of one request (120)")
    parser.set_defaults(command=_serve)


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 31:
        raise argparse.ArgumentTypeError("must be from 0 to 2147483647")
    return number


def _tile(text: str) -> str | int:
    return text if text in ("auto", "off") else _count(text)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


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


def _export(arguments: argparse.Namespace) -> int:
    from translate.inference.export import export

    for path in export(
        arguments.run,
        arguments.output,
        direction=arguments.direction,
        precision=arguments.precision,
        noise=arguments.noise,
        licence=arguments.licence,
    ):
        print(path)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from translate.inference.published import import_weights

    card = import_weights(
        arguments.weights,
        arguments.output,
        architecture=arguments.architecture,
        name=arguments.name,
        statistics=arguments.statistics,
        noise=arguments.noise,
        licence=arguments.licence,
    )
    print(f"{arguments.output}: {card.network}, {card.source and card.source.colour} to {card.target.colour}")
    return 0


def _batch(arguments: argparse.Namespace) -> int:
    from translate.inference.batch import Options, run_batch

    settings = {key: value for key, value in vars(arguments).items() if key != "command"}
    return run_batch(Options(**settings))


def _sample(arguments: argparse.Namespace) -> int:
    from translate.inference.sample import sample

    settings = {key: value for key, value in vars(arguments).items() if key != "command"}
    print(sample(**settings))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from translate.serving.app import Options, serve

    settings = {key: value for key, value in vars(arguments).items() if key not in ("command", "model")}
    serve(Options(models=tuple(arguments.model), **settings))
    return 0


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
