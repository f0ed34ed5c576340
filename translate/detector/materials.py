"""What showers develop in: materials, and a stack of two of them as one effective medium.

Constants: Particle Data Group, Atomic and Nuclear Properties of Materials; for compounds Z is weighted by mass and A
follows from Z/A. Critical energy and Molière radius as in Grindhammer & Peters 2000 (hep-ex/0001020), appendix A.1.
"""

from typing import Literal, NamedTuple

Name = Literal["Fe", "Cu", "W", "Pb", "U", "Si", "LAr", "polystyrene", "CsI", "PbWO4"]


class Material(NamedTuple):
    z: float
    a: float  # g/mol
    density: float  # g/cm³
    x0: float  # radiation length, g/cm²
    interaction: float  # nuclear interaction length, g/cm²
    ionisation: float  # of a minimum ionising particle, MeV cm²/g

    @property
    def critical(self) -> float:
        """MeV."""
        return float(2.66 * (self.x0 * self.z / self.a) ** 1.1)


MATERIALS: dict[str, Material] = {
    "Fe": Material(26, 55.845, 7.874, 13.84, 132.1, 1.451),
    "Cu": Material(29, 63.546, 8.96, 12.86, 137.3, 1.403),
    "W": Material(74, 183.84, 19.3, 6.76, 191.9, 1.145),
    "Pb": Material(82, 207.2, 11.35, 6.37, 199.6, 1.122),
    "U": Material(92, 238.03, 18.95, 6.00, 209.0, 1.081),
    "Si": Material(14, 28.086, 2.329, 21.82, 108.4, 1.664),
    "LAr": Material(18, 39.948, 1.396, 19.55, 119.7, 1.508),
    "polystyrene": Material(5.61, 10.44, 1.06, 43.79, 81.7, 1.936),
    "CsI": Material(54, 129.905, 4.51, 8.39, 171.5, 1.243),
    "PbWO4": Material(68.4, 165.5, 8.30, 7.39, 168.3, 1.229),
}


class Medium(NamedTuple):
    """One or two materials as one that fills space: Grindhammer & Peters, eqs. for sampling calorimeters."""

    z: float
    x0: float  # cm
    moliere: float  # cm
    critical: float  # MeV
    interaction: float  # cm
    ionisation: float  # MeV/cm
    sampling: bool
    frequency: float  # 1/F_s: the pitch of the stack in radiation lengths; 0 where it is homogeneous
    e_hat: float  # response to electrons relative to minimum ionising particles; 1 where it is homogeneous


def medium(absorber: Material, absorber_cm: float, active: Material | None = None, active_cm: float = 0.0) -> Medium:
    """The stack that repeats `absorber_cm` of the absorber and `active_cm` of the active material."""
    parts = [(absorber, absorber_cm)] + ([(active, active_cm)] if active else [])
    pitch = sum(length for _, length in parts)
    mass = sum(material.density * length for material, length in parts)  # g/cm²
    weights = [material.density * length / mass for material, length in parts]
    density = mass / pitch

    def mean(values: list[float]) -> float:
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    materials = [material for material, _ in parts]
    x0 = 1 / mean([1 / material.x0 for material in materials])  # g/cm²
    critical = x0 * mean([material.critical / material.x0 for material in materials])
    return Medium(
        z=mean([material.z for material in materials]),
        x0=x0 / density,
        moliere=21.2 * x0 / density / critical,
        critical=critical,
        interaction=1 / mean([1 / material.interaction for material in materials]) / density,
        ionisation=mean([material.ionisation for material in materials]) * density,
        sampling=active is not None,
        frequency=pitch * density / x0 if active else 0.0,
        e_hat=1 / (1 + 0.007 * (absorber.z - active.z)) if active else 1.0,
    )
