"""What arguments of the command line may be: each turns text into a value or refuses it."""

import argparse


def seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 31:
        raise argparse.ArgumentTypeError("must be from 0 to 2147483647")
    return number


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def tile(text: str) -> str | int:
    return text if text in ("auto", "off") else count(text)
