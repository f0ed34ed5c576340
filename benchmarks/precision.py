"""Is bf16 as good as fp32? The same run in both, for several seeds; validation curves side by side.

    python benchmarks/precision.py [--config quickstart.yaml] [--seeds 3] [--out FOLDER] [--set KEY=VALUE]

Prints the validation curve of every run and the difference of the final values, beside the spread over seeds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from translate.training.journal import read
from translate.training.start import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="quickstart.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--metric", default="psnr", choices=["psnr", "ssim", "l1"])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    final: dict[str, list[float]] = {"fp32": [], "bf16": []}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for precision, values in final.items():
                run = (arguments.out or Path(folder)) / f"{precision}-{seed}"
                train(arguments.config, [*arguments.set, f"precision={precision}", f"seed={seed}"], run)
                rows = [row for row in read(run / "metrics.jsonl") if f"val/{arguments.metric}" in row]
                curve = [row[f"val/{arguments.metric}"] for row in rows]
                values.append(curve[-1])
                lines.append(
                    f"{precision} seed {seed}: "
                    + "  ".join(f"{value:.4g}" for value in curve)
                    + f"  ({rows[-1]['seconds']:.0f} s)"
                )
    print("\n".join(lines))
    difference = [b - a for a, b in zip(final["fp32"], final["bf16"], strict=True)]
    print(
        f"final {arguments.metric}: fp32 {statistics.mean(final['fp32']):.4g} ± {statistics.stdev(final['fp32']):.2g}, "
        f"bf16 {statistics.mean(final['bf16']):.4g} ± {statistics.stdev(final['bf16']):.2g}, "
        f"bf16 − fp32 by seed: {', '.join(f'{d:+.3g}' for d in difference)}"
    )


if __name__ == "__main__":
    main()
