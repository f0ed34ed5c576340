"""Files of detector images: CaloGAN and CaloChallenge HDF5, npz, folders of tiles, ROOT trees, FITS cubes.

What is read is streamed: a file may be larger than memory. Energies of cells come in MeV and incident energies in GeV,
whatever the file says; ADC counts, times and signals in VEM come as they are.
"""

from translate.detector.files.base import FileOptions, ShowerFile
from translate.detector.files.open import open_showers, write_showers

__all__ = ["FileOptions", "ShowerFile", "open_showers", "write_showers"]
