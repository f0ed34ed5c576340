"""`python serve.py --model M.onnx`: the same as `translate serve`."""

import sys

from translate.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["serve", *sys.argv[1:]]))
