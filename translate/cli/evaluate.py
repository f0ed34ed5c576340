"""Commands that say how good pictures are: evaluate, classifier, quiz."""

import argparse
from pathlib import Path

from translate.cli.types import count, seed


def names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _evaluate_arguments(commands.add_parser("evaluate", help="how good pictures are, and how sure that is"))

    classifier = commands.add_parser("classifier", help="train a small classifier, to be a feature space")
    what = classifier.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="NAME", help="a config whose data are labelled: data.kind: dataset")
    what.add_argument("--data", metavar="NAME", help="mnist, fashion_mnist, cifar10 or folder, with --root")
    classifier.add_argument("--root", type=Path, metavar="DIR", help="where the data are")
    classifier.add_argument("--size", type=count, default=32, metavar="N", help="pixels a side, for --data (32)")
    classifier.add_argument("--epochs", type=count, default=2, metavar="N", help="(2)")
    classifier.add_argument("--seed", type=seed, default=0, metavar="N")
    classifier.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.pt", help="its stem is the name")
    classifier.set_defaults(command=_classifier)

    quiz = commands.add_parser("quiz", help="which one is real? a page that asks people")
    quiz.add_argument("--real", type=Path, required=True, metavar="DIR")
    quiz.add_argument("--fake", type=Path, required=True, metavar="DIR")
    quiz.add_argument("--pairs", type=count, default=40, metavar="N", help="that count (40)")
    quiz.add_argument("--practice", type=count, default=10, metavar="N", help="before, with feedback (10)")
    quiz.add_argument("--name", metavar="WHO", help="of the player (default: the page asks)")
    quiz.add_argument("--results", type=Path, default=Path("quiz.csv"), metavar="FILE.csv", help="(quiz.csv)")
    quiz.add_argument("--seed", type=seed, metavar="N", help="of the pairs (default: new ones each time)")
    quiz.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (127.0.0.1)")
    quiz.add_argument("--port", type=int, default=7861)
    quiz.add_argument("--auth", metavar="USER:PASSWORD|FILE", help="a login; FILE has one USER:PASSWORD a line")
    quiz.set_defaults(command=_quiz)


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    sets = "a folder, a .npy or .npz, or a config.yaml (its test pictures; config.yaml#train)"
    parser.add_argument("--reference", required=True, metavar="SET", help=f"real pictures: {sets}")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--generated", metavar="SET", help="the pictures to be judged")
    what.add_argument("--model", type=Path, metavar="M", help="an .onnx, a checkpoint or a run that makes them")
    parser.add_argument("--input", metavar="SET", help="what a translator is given")
    parser.add_argument("--count", type=count, metavar="N", help="how many pictures a generator makes")
    parser.add_argument("--direction", metavar="NAME", help="the network of a run that has several, as a2b")
    parser.add_argument("--training", metavar="SET", help="what was trained on: shows the nearest, and finds copies")
    parser.add_argument("--paired", action="store_true", help="pictures of the same name belong together")
    parser.add_argument("--metrics", type=names, metavar="A,B", help="see docs/evaluation.md; or all")
    parser.add_argument("--features", type=names, metavar="A,B", help="feature spaces (inception-v3-tf)")
    parser.add_argument("--palette", type=Path, metavar="FILE", help="of label maps: one '#rrggbb name' a line")
    parser.add_argument("--against", type=Path, metavar="JSON", help="the evaluation.json of another model")
    parser.add_argument("--cache", metavar="DIR|off", help="where features of the reference are kept")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of what the model makes (0)")
    parser.add_argument("-o", "--output", type=Path, default=Path("evaluation"), metavar="DIR", help="(evaluation)")
    parser.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from translate.evaluation.command import Options, evaluate

    settings = {key: value for key, value in vars(arguments).items() if key != "command"}
    print(evaluate(Options(**settings)))
    return 0


def _classifier(arguments: argparse.Namespace) -> int:
    from translate.evaluation.classifier import source, train

    data = source(arguments.config, arguments.data, arguments.root, arguments.size)
    card = train(data, arguments.output, epochs=arguments.epochs, seed=arguments.seed)
    tested = "no test part" if card.accuracy is None else f"{card.accuracy:.2%} of the test pictures are named right"
    print(f"{arguments.output}: {len(card.classes)} classes, {tested}")
    return 0


def _quiz(arguments: argparse.Namespace) -> int:
    from translate.serving.quiz import Options, quiz

    settings = {key: value for key, value in vars(arguments).items() if key != "command"}
    quiz(Options(**settings))
    return 0
