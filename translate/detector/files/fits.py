"""FITS: image cubes with a table, through astropy.

Every image of the file is one layer [N, H, W], several [N, L, H, W] or one picture [H, W]; BUNIT is its unit. The first
table with a column ENERGY (in GeV, or TUNITn) has a row an event; PARTICLE may stand beside it.
"""

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from translate.detector.files.base import (
    Array,
    FileOptions,
    Kind,
    ShowerFile,
    column_shape,
    damaged,
    stack_shape,
    written_units,
)
from translate.detector.files.npz import Column
from translate.detector.showers import Showers
from translate.errors import DataError

_DTYPES = ("uint8", "int16", "int32", "int64", "float32", "float64")  # that FITS has


class Fits(ShowerFile):
    kind: ClassVar[Kind] = "fits"
    energy_name = "ENERGY"

    def __init__(self, path: Path, options: FileOptions) -> None:
        super().__init__(path, options)
        fits = _library()
        with damaged(path, "the file"):
            self.file = fits.open(path, memmap=True)
        try:
            with damaged(path, "the file"), warnings.catch_warnings():
                warnings.simplefilter("error")  # astropy warns of a file that is cut
                len(self.file)  # looks at every header
            self._open(fits)
        except BaseException:
            self.close()
            raise

    def _open(self, fits: Any) -> None:
        self.images = [hdu for hdu in self.file if hdu.is_image and len(hdu.shape) >= 2]
        if not self.images:
            raise DataError(f"{self.path}: has no image [events, height, width]")
        names, shapes, stated = [], [], []
        self.count = self.images[0].shape[0] if len(self.images[0].shape) > 2 else 1
        for hdu in self.images:
            name, shape = hdu.name or "an image", hdu.shape if len(hdu.shape) > 2 else (1, *hdu.shape)
            layers = shape[1] if len(shape) == 4 else 1
            plane = (shape[0], *shape[2:]) if len(shape) == 4 else shape
            shapes += [stack_shape(self.path, name, plane, np.dtype("f4"), self.count)] * layers
            names += [name] * layers
            stated += [hdu.header.get("BUNIT")] * layers
        self.names, self.shapes, self.stated = tuple(names), tuple(shapes), tuple(stated)
        tables = [hdu for hdu in self.file if isinstance(hdu, fits.BinTableHDU) and "ENERGY" in hdu.columns.names]
        self.table = tables[0] if tables else None
        if self.table is not None:
            self.energy_stated = self.table.columns["ENERGY"].unit
            for name in {"ENERGY", "PARTICLE"} & set(self.table.columns.names):
                with damaged(self.path, name):
                    shape = self.table.data[name].shape
                column_shape(self.path, name, shape, self.count)
        self._settle()

    def close(self) -> None:
        self.file.close()

    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        layers: list[Array] = []
        for hdu in self.images:
            with damaged(self.path, hdu.name):
                if len(hdu.shape) == 2:
                    layers.append(hdu.data[None][start:stop])
                elif start == stop:
                    layers += [np.empty((0, *hdu.shape[-2:]))] * (hdu.shape[1] if len(hdu.shape) == 4 else 1)
                else:
                    cells = np.asarray(hdu.section[start:stop])
                    layers += list(np.moveaxis(cells, 1, 0)) if cells.ndim == 4 else [cells]
        columns: list[Array | None] = []
        for name in ("ENERGY", "PARTICLE"):
            known = self.table is not None and name in self.table.columns.names
            columns.append(np.asarray(self.table.data[name][start:stop]) if known else None)  # type: ignore[union-attr]
        return layers, columns[0], columns[1]


def write_fits(path: Path, first: Showers, chunks: Iterable[Showers], options: FileOptions) -> None:
    """An image LAYER_0, LAYER_1, … of each layer, then the table EVENTS. Layers grow in files beside `path`."""
    fits, units = _library(), written_units(options, first.layers)
    for layer in first.layers:
        if layer.dtype.name not in _DTYPES:
            raise DataError(f"{path.name}: FITS has no {layer.dtype}; convert to one of {', '.join(_DTYPES)}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        columns = [Column(Path(folder) / f"{place}.npy") for place in range(len(first.layers) + 2)]
        for chunk in chunks:
            for column, values in zip(columns, (*chunk.layers, chunk.energy, chunk.particle), strict=True):
                column.append(values.astype(values.dtype.newbyteorder(">")))
        arrays = [column.load() for column in columns]
        hdus = [fits.PrimaryHDU()]
        for place, unit in enumerate(units):
            hdus.append(fits.ImageHDU(arrays[place], name=f"LAYER_{place}"))
            hdus[-1].header["BUNIT"] = unit
        table = [
            fits.Column("ENERGY", "E", unit="GeV", array=arrays[-2]),
            fits.Column("PARTICLE", "K", array=arrays[-1]),
        ]
        fits.HDUList([*hdus, fits.BinTableHDU.from_columns(table, name="EVENTS")]).writeto(path)


def _library() -> Any:
    try:
        from astropy.io import fits
    except ImportError:
        raise DataError("FITS needs astropy: pip install 'translate[detector]'") from None
    return fits
