"""`python train.py --config cyclegan_horse2zebra.yaml`: the same as `translate train`."""

import sys

from translate.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
