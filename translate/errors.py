"""Everything that a user can get wrong raises a `TranslateError`; any other exception is our bug.

TranslateError
├── ConfigError         a key, a value or a combination in a YAML file or in `--set`
├── DataError           a folder, a layout, a pair that does not match
│   ├── ImageError      one file that cannot be used as an image; `data.on_error` decides what follows
│   └── DownloadError   a published data set that could not be fetched, checked or unpacked
├── CheckpointError     a file of another recipe, version or shape; a damaged file; a full disk
├── ModelError          a model that cannot be exported, read or run; an input that it does not take
├── EvaluationError     a metric that cannot be computed: too few samples, features that do not match, no weights
└── TrainingError       a loss that is no longer finite

The command line prints the message on one line as `error: …` and exits with status 2, without a traceback.
"""

import difflib
from collections.abc import Iterable


class TranslateError(Exception):
    """A mistake that the user can mend; the message names the place and the remedy."""


class ConfigError(TranslateError):
    pass


class DataError(TranslateError):
    pass


class ImageError(DataError):
    pass


class DownloadError(DataError):
    pass


class CheckpointError(TranslateError):
    pass


class ModelError(TranslateError):
    pass


class EvaluationError(TranslateError):
    pass


class TrainingError(TranslateError):
    pass


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown key 'cylce' (did you mean 'cycle'?); known: cycle, identity`."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {what} {name!r}{hint}; known: {', '.join(known) or 'none'}"
