"""Binning of CaloChallenge voxels: layers of α x r bins, r fastest, in XML or by their number (arXiv 2410.21611)."""

from functools import cache
from pathlib import Path
from typing import NamedTuple, Self
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from translate.detector.files.base import Shape
from translate.errors import DataError

_PDG = {11: "electron", -11: "electron", 22: "photon", 211: "pion", -211: "pion", 2212: "proton"}

_ATLAS = {  # data set 1: α bins and edges of r in mm
    "photon": (
        (1, "0,5,10,30,50,100,200,400,600"),
        (10, "0,2,4,6,8,10,12,15,20,30,40,50,70,90,120,150,200"),
        (10, "0,2,5,10,15,20,25,30,40,50,60,80,100,130,160,200,250,300,350,400"),
        (1, "0,50,100,200,400,600"),
        (1, "0,100,200,400,1000,2000"),
    ),
    "pion": (
        (1, "0,5,10,30,50,100,200,400,600"),
        (10, "0,1,4,7,10,15,30,50,90,150,200"),
        (10, "0,5,10,20,30,50,80,130,200,300,400"),
        (1, "0,50,100,200,400,600"),
        (10, "0,10,20,30,50,80,100,130,160,200,250,300,350,400,1000,2000"),
        (10, "0,10,20,30,50,80,100,130,160,200,250,300,350,400,600,1000,2000"),
        (1, "0,50,100,150,200,250,300,400,600,1000,2000"),
    ),
}


class Binning(NamedTuple):
    particle: str | None  # in PARTICLES
    alpha: tuple[int, ...]  # a layer, the number of bins in [−π, π]
    edges: tuple[tuple[float, ...], ...]  # a layer, of r in mm

    @classmethod
    def read(cls, path: Path) -> Self:
        """The XML file of a CaloChallenge data set; layers without bins are left out. Raises DataError."""
        try:
            particles = list(ElementTree.parse(path).getroot())
            layers = [layer.attrib for layer in particles[0]]
            rows = [(int(layer["n_bin_alpha"]), _numbers(layer["r_edges"])) for layer in layers]
            pid = int(particles[0].attrib.get("pid", 0))
        except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
            raise DataError(
                f"{path}: is no binning ({error}); it needs <Bins><Bin pid=…><Layer r_edges=… n_bin_alpha=…/>…"
            ) from None
        rows = [(alpha, edges) for alpha, edges in rows if len(edges) > 1]
        if len(particles) != 1 or not rows or any(a < 1 or sorted(set(r)) != list(r) for a, r in rows):
            raise DataError(f"{path}: is no binning; it needs one <Bin> with layers whose r_edges rise")
        return cls(_PDG.get(pid), tuple(alpha for alpha, _ in rows), tuple(edges for _, edges in rows))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """α x r of each layer."""
        return tuple((alpha, len(edges) - 1) for alpha, edges in zip(self.alpha, self.edges, strict=True))

    @property
    def voxels(self) -> int:
        return sum(alpha * r for alpha, r in self.shapes)

    @property
    def positions(self) -> tuple[NDArray[np.float64], ...]:
        """Of the middle of each bin, a layer [2, α, r], in mm: x = r cos α, y = r sin α."""
        result = []
        for count, edges in zip(self.alpha, self.edges, strict=True):
            alpha = -np.pi + (np.arange(count) + 0.5) * (2 * np.pi / count)
            r = (np.array(edges[1:]) + np.array(edges[:-1])) / 2
            result.append(np.stack([np.outer(np.cos(alpha), r), np.outer(np.sin(alpha), r)]))
        return tuple(result)


@cache
def published() -> dict[int, Binning]:
    """By the number of voxels: 368 and 533 (data set 1), 6480 (2), 40500 (3)."""
    found = [
        Binning(particle, tuple(a for a, _ in rows), tuple(_numbers(text) for _, text in rows))
        for particle, rows in _ATLAS.items()
    ]
    for alpha, r in ((16, 9), (50, 18)):
        edges = tuple(round(41.85 * place / r, 3) for place in range(r + 1))
        found.append(Binning("electron", (alpha,) * 45, (edges,) * 45))
    return {binning.voxels: binning for binning in found}


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))
