"""ROOT trees through uproot.

Jagged: `hit_cell` and `hit_value` hold the cells that are not 0, numbered over all layers, W fastest. Or one branch a
cell: `cell_0`, `cell_1`, …, as the trees that CaloGAN was made from (3 more of them are its overflow). With them
`energy` (or `TotalEnergy`) in GeV and `particle`. Files written here have `about`, JSON of units and shapes.
"""

import json
import re
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from translate.detector.files.base import Array, FileOptions, Kind, Role, ShowerFile, damaged, written_units
from translate.detector.showers import Showers
from translate.errors import DataError, unknown

_NAMES: dict[Role, str] = {
    "index": "hit_cell",
    "value": "hit_value",
    "cell": "cell_",
    "energy": "energy",
    "particle": "particle",
}
_CALOGAN = ((3, 96), (12, 12), (12, 6))
_OVERFLOW = 3


class Root(ShowerFile):
    kind: ClassVar[Kind] = "root"

    def __init__(self, path: Path, options: FileOptions) -> None:
        super().__init__(path, options)
        with damaged(path, "the file"):
            self.file = _library("uproot").open(path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with damaged(self.path, "the file"):
            trees = self.file.keys(filter_classname="TTree", cycle=False)
            about = json.loads(str(self.file["about"])) if "about" in self.file else {}
        name: str = self.options.tree or (trees[0] if len(set(trees)) == 1 else "")
        if name not in trees:
            raise DataError(f"{self.path}: {unknown('tree', name, trees)}; give `tree`")
        with damaged(self.path, name):
            self.tree = self.file[name]
            self.count, branches = int(self.tree.num_entries), set(self.tree.keys())
        self.role = _NAMES | self.options.branches
        if "energy" not in self.options.branches and "energy" not in branches:
            self.role["energy"] = "TotalEnergy"
        self.sparse = self.role["value"] in branches and self.role["index"] in branches
        cells = [branch for branch in branches if re.fullmatch(re.escape(self.role["cell"]) + r"\d+", branch)]
        if not self.sparse and not cells:
            raise DataError(
                f"{self.path}: {name}: has neither {self.role['index']} and {self.role['value']} nor "
                f"{self.role['cell']}0, … but {', '.join(sorted(branches)[:12])}; give `branches`"
            )
        self.cells = [f"{self.role['cell']}{place}" for place in range(len(cells))]
        self.shapes = self._shapes(name, about, len(cells))
        if self.sparse:
            self.names = (f"{name}/{self.role['value']}",) * len(self.shapes)
        else:
            starts = np.cumsum([0, *map(prod, self.shapes)])
            self.names = tuple(f"{name}/{self.cells[start]}…" for start in starts[:-1])
            del self.cells[starts[-1] :]
        self.columns = [self.role[key] if self.role[key] in branches else None for key in ("energy", "particle")]
        self.energy_name, self.energy_stated = f"{name}/{self.role['energy']}", about.get("energy_unit")
        self.stated = (
            tuple(about["units"]) if len(about.get("units", ())) == len(self.shapes) else (None,) * len(self.shapes)
        )
        scalars = [column for column in self.columns if column] + ([] if self.sparse else self.cells)
        for branch in scalars:
            dtype = getattr(self.tree[branch].interpretation, "to_dtype", None)
            if dtype is None or dtype.shape or dtype.kind not in "iufb":
                raise DataError(
                    f"{self.path}: {name}/{branch}: is {self.tree[branch].typename}; expected one number an event"
                )
        self._settle()

    def _shapes(self, tree: str, about: dict[str, Any], cells: int) -> tuple[tuple[int, int], ...]:
        given = self.options.shapes or tuple((int(h), int(w)) for h, w in about.get("shapes", ()))
        published = sum(map(prod, _CALOGAN))
        if not given and not self.sparse and cells in (published, published + _OVERFLOW):
            return _CALOGAN
        if not given:
            raise DataError(
                f"{self.path}: {tree}: does not say its layers; give `shapes`, as [[3, 96], [12, 12], [12, 6]]"
            )
        total = sum(map(prod, given))
        if not self.sparse and cells != total and (given, cells) != (_CALOGAN, published + _OVERFLOW):
            raise DataError(
                f"{self.path}: {tree}: has {cells} branches {self.role['cell']}…, layers {list(given)} {total} cells"
            )
        return given

    def close(self) -> None:
        self.file.close()

    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        columns = {"entry_start": start, "entry_stop": stop, "library": "np", "array_cache": None}
        energy, particle = (self.tree[name].array(**columns) if name else None for name in self.columns)
        if self.sparse:
            flat = self._dense(start, stop)
        else:
            found = self.tree.arrays(self.cells, **columns)
            flat = np.stack([found[name] for name in self.cells], axis=1)
        ends = np.cumsum([prod(shape) for shape in self.shapes])[:-1]
        parts = zip(np.split(flat, ends, axis=1), self.shapes, strict=True)
        return [part.reshape(-1, *shape) for part, shape in parts], energy, particle

    def _dense(self, start: int, stop: int) -> Array:
        """[n, cells]. What several hits leave in one cell is added."""
        import awkward

        found = [
            self.tree[self.role[key]].array(entry_start=start, entry_stop=stop, array_cache=None)
            for key in ("index", "value")
        ]
        counts = [awkward.to_numpy(awkward.num(jagged)) for jagged in found]
        index, value = (awkward.to_numpy(awkward.flatten(jagged)) for jagged in found)
        total, place = sum(map(prod, self.shapes)), f"{self.tree.name}/{self.role['index']}"
        if (counts[0] != counts[1]).any():
            raise DataError(f"{self.path}: {place}: has not as many entries as {self.role['value']} in every event")
        if len(index) and not 0 <= index.min() <= index.max() < total:
            raise DataError(
                f"{self.path}: {place}: cells {index.min()} to {index.max()}, but {list(self.shapes)} has {total}"
            )
        at = np.repeat(np.arange(stop - start), counts[0]) * total + index
        flat = np.zeros((stop - start) * total, value.dtype)
        if len(np.unique(at)) == len(at):
            flat[at] = value
        else:
            np.add.at(flat, at, value)
        return flat.reshape(stop - start, total)


def write_root(path: Path, first: Showers, chunks: Iterable[Showers], options: FileOptions) -> None:
    uproot, names = _library("uproot"), _NAMES | options.branches
    dtypes = [layer.dtype for layer in first.layers]
    shapes = [layer.shape[1:] for layer in first.layers]
    if options.sparse and len(set(dtypes)) > 1:
        raise DataError(f"{path.name}: layers differ in dtype, which one jagged branch cannot hold; set sparse: false")
    each = np.repeat(np.arange(len(shapes)), [prod(shape) for shape in shapes])  # the layer of each cell
    hits = {names["index"]: "var * int32", names["value"]: f"var * {dtypes[0]}"}
    cells = {f"{names['cell']}{place}": dtypes[layer] for place, layer in enumerate(each)}
    about = {"units": written_units(options, first.layers), "energy_unit": "GeV", "shapes": shapes}
    with uproot.recreate(path) as file:
        file["about"] = json.dumps(about)
        kinds = (hits if options.sparse else cells) | {names["energy"]: np.float32, names["particle"]: np.int64}
        tree = file.mktree(options.tree or "showers", kinds, counter_name=lambda name: "hits")
        for chunk in chunks:
            columns = {names["energy"]: chunk.energy, names["particle"]: chunk.particle}
            layers = [layer.reshape(len(layer), -1) for layer in chunk.layers]
            if options.sparse:
                tree.extend(columns | dict(zip(hits, _jagged(np.concatenate(layers, axis=1)), strict=True)))
            else:
                tree.extend(columns | dict(zip(cells, (column for layer in layers for column in layer.T), strict=True)))


def _jagged(flat: Array) -> tuple[Any, Any]:
    import awkward

    kept = (flat != 0) | (np.signbit(flat) if flat.dtype.kind == "f" else False)  # −0 is kept, too
    counts, index = kept.sum(1), np.nonzero(kept)[1].astype(np.int32)
    return awkward.unflatten(index, counts), awkward.unflatten(flat[kept], counts)


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"this format needs {name}: pip install 'translate[detector]'") from None
