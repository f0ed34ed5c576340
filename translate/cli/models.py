"""Commands that use models: export, import, batch, sample, serve."""

import argparse
from pathlib import Path

from translate.cli.types import count, seed, tile


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _model_arguments(commands)
    _sample_arguments(commands.add_parser("sample", help="pictures from a generator: grid, folder, animated walk"))
    _serve_arguments(commands.add_parser("serve", help="a web page that uses models"))


def _model_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    batch.add_argument("--seed", type=seed, default=0, metavar="N", help="of the noise of stochastic models (0)")
    batch.add_argument("--tile", type=tile, default="auto", metavar="SIZE", help="auto, off, or pixels a side (auto)")
    batch.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto")
    batch.add_argument("--backend", choices=["auto", "onnxruntime", "openvino", "torch"], default="auto")
    batch.add_argument("--batch-size", type=count, default=1, metavar="N", help="pictures of one size at a time (1)")
    batch.add_argument("--workers", type=count, metavar="N", help="pictures in hand at a time (default: one a core)")
    batch.add_argument("--format", choices=["keep", "png", "jpeg", "webp", "tiff", "npy"], default="keep")
    batch.add_argument("--skip-existing", action="store_true", help="leave outputs that are there, whoever wrote them")
    batch.add_argument("--on-error", choices=["skip", "fail"], default="skip", help="what an unusable input does")
    batch.add_argument("--max-megapixels", type=count, default=200, metavar="N", help="of one picture (200)")
    batch.add_argument("--side-by-side", action="store_true", help="input and output in one picture")
    batch.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster: auto, or its address (extra: ray)")
    batch.set_defaults(command=_batch)


def _sample_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, a checkpoint or an .onnx")
    parser.add_argument("--count", type=count, default=64, metavar="N", help="pictures, or stations of a walk (64)")
    parser.add_argument("--label", metavar="NAME", help="the class of all, by name or number (default: all in turn)")
    parser.add_argument("--truncation", type=float, metavar="T", help="latent numbers within ±T, as 0.7: less varied")
    parser.add_argument("--interpolate", choices=["slerp", "lerp"], help="a closed walk: great circles, straight lines")
    parser.add_argument("--seed", type=seed, default=0, metavar="N")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="a grid .png, a folder, or an animated .webp or .gif"
    )
    parser.set_defaults(command=_sample)


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--max-upload-mb", type=count, default=32, metavar="N")
    parser.add_argument("--max-megapixels", type=count, default=32, metavar="N")
    parser.add_argument("--queue", type=count, default=32, metavar="N", help="requests that may wait (32)")
    parser.add_argument("--concurrency", type=count, default=1, metavar="N", help="requests at work at a time (1)")
    parser.add_argument("--time-limit", type=count, default=120, metavar="SECONDS", help="of one request (120)")
    parser.set_defaults(command=_serve)


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
    from translate.inference.ahead import begin

    ahead = begin(arguments.model, arguments.input, arguments.backend, arguments.precision)
    from translate.inference.batch import Options, run_batch

    settings = {key: value for key, value in vars(arguments).items() if key != "command"}
    return run_batch(Options(**settings), ahead)


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
