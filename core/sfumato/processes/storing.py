"""Processes over numbers as JSON values and arrays, for the folder of a prior.

    {"schedule": "VP", …}                                  a plain one, by its schedule's fields
    {"schedule": …, "degrees": 128}                        with Student's noise
    {"schedule": …, "attenuation": {"name": "Blur", …}}    on coefficients of a basis
    {"schedule": …, "manifold": "Sphere"}                  on a manifold

What is learned or measured, the network of a schedule and the speeds of ``Fade``, is kept beside it
as arrays, in the precision that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from sfumato.errors import UnknownNameError, UnsupportedError
from sfumato.processes import fractional, schedules, spectral
from sfumato.processes.gaussian import Gaussian
from sfumato.processes.learned import Learned, Monotone
from sfumato.processes.manifolds import Riemannian, Sphere, Torus
from sfumato.processes.schedules import Schedule
from sfumato.processes.spectral import Attenuation, Blur, Cosines, Elements, Fade, Heat, Spectral
from sfumato.processes.student import Student

__all__ = ["arrays", "described", "gaussian_from", "identified"]

SCHEDULES: dict[str, type[Any]] = {
    "EDM": schedules.EDM,
    "VE": schedules.VE,
    "VP": schedules.VP,
    "Cosine": schedules.Cosine,
    "Flow": schedules.Flow,
    "SubVP": schedules.SubVP,
    "Table": schedules.Table,
    "FractionalBeta": fractional.FractionalBeta,
    "Steady": spectral.Steady,
}
ATTENUATIONS: dict[str, type[Any]] = {"Blur": Blur, "Heat": Heat}
MANIFOLDS: dict[str, type[Any]] = {"Torus": Torus, "Sphere": Sphere}


def described(process: Gaussian) -> dict[str, Any]:
    """What makes ``process`` again, together with ``arrays``.

    Raises:
        UnsupportedError: If it has a part that no folder holds.
    """
    found = schedule_fields(process.schedule)
    kind = type(process)
    if kind is Student:
        assert isinstance(process, Student)
        found["degrees"] = process.degrees
    elif kind is Spectral:
        assert isinstance(process, Spectral)
        found["attenuation"] = attenuation_fields(process.attenuation)
    elif kind is Riemannian:
        assert isinstance(process, Riemannian)
        found["manifold"] = known(type(process.manifold), MANIFOLDS)
    elif kind is not Gaussian:
        raise unstored(kind, ["Gaussian", "Student", "Spectral", "Riemannian"])
    return found


def identified(process: Gaussian) -> dict[str, Any]:
    """What tells ``process`` from others: its description, or its text where no folder holds it."""
    try:
        return described(process)
    except UnsupportedError:
        return {"process": repr(process)}


def arrays(process: Gaussian) -> dict[str, Tensor]:
    """The arrays that belong to the description."""
    found: dict[str, Tensor] = {}
    if isinstance(process.schedule, Learned):
        for name, value in process.schedule.network.state_dict().items():
            found[f"schedule.{name}"] = value.detach()
    if isinstance(process, Spectral) and isinstance(process.attenuation, Fade):
        found["speeds"] = process.attenuation.speeds
    return found


def gaussian_from(description: Mapping[str, Any], held: Mapping[str, Tensor]) -> Gaussian:
    """The process of a description and its arrays.

    Raises:
        UnknownNameError: If a part is of a later version.
    """
    settings = dict(description)
    degrees = settings.pop("degrees", None)
    attenuation, manifold = settings.pop("attenuation", None), settings.pop("manifold", None)
    schedule = schedule_from(settings, held)
    if degrees is not None:
        return Student(schedule, degrees)
    if attenuation is not None:
        return Spectral(schedule, attenuation_from(attenuation, held))
    if manifold is not None:
        return Riemannian(schedule, named(manifold, "manifold", MANIFOLDS)())
    return Gaussian(schedule)


def schedule_fields(schedule: Schedule) -> dict[str, Any]:
    if isinstance(schedule, Learned):
        network = schedule.network
        if type(network) is not Monotone:
            raise unstored(type(network), ["Monotone"])
        low, high = network.ends.detach().tolist()
        size = {"low": low, "high": high, "width": len(network.places), "start": network.start}
        return {"schedule": "Learned", **size}
    return {"schedule": known(type(schedule), SCHEDULES), **plain_fields(schedule)}


def schedule_from(settings: dict[str, Any], held: Mapping[str, Tensor]) -> Schedule:
    name = settings.pop("schedule")
    if name == "Learned":
        network = Monotone(**settings)
        state = {key: held[f"schedule.{key}"] for key in network.state_dict()}
        network.load_state_dict(state)
        return Learned(network.requires_grad_(False))
    schedule: Schedule = named(name, "schedule", SCHEDULES)(**tuples(settings))
    return schedule


def attenuation_fields(attenuation: Attenuation) -> dict[str, Any]:
    if isinstance(attenuation, Fade):
        basis = attenuation.within
        if isinstance(basis, Cosines):
            return {"name": "Fade", "cosines": basis.axes}
        if isinstance(basis, Elements):
            return {"name": "Fade"}
        raise unstored(type(basis), ["Elements", "Cosines"])
    return {"name": known(type(attenuation), ATTENUATIONS), **plain_fields(attenuation)}


def attenuation_from(description: Mapping[str, Any], held: Mapping[str, Tensor]) -> Attenuation:
    settings = dict(description)
    name = settings.pop("name")
    if name == "Fade":
        axes = settings.pop("cosines", None)
        return Fade(held["speeds"], Elements() if axes is None else Cosines(axes))
    attenuation: Attenuation = named(name, "attenuation", ATTENUATIONS)(**tuples(settings))
    return attenuation


def plain_fields(part: Any) -> dict[str, Any]:
    """The arguments that make ``part`` again, as JSON values."""
    given = {entry.name: getattr(part, entry.name) for entry in fields(part) if entry.init}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}


def tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}


def known(kind: type[Any], table: Mapping[str, type[Any]]) -> str:
    """The name of a class that a folder can hold."""
    if table.get(kind.__name__) is not kind:
        raise unstored(kind, list(table))
    return kind.__name__


def named(name: str, what: str, table: Mapping[str, type[Any]]) -> type[Any]:
    if name not in table:
        raise UnknownNameError(what, name, table)
    return table[name]


def unstored(kind: type[Any], instead: list[str]) -> UnsupportedError:
    return UnsupportedError(
        "a prior's folder", "parts that it can describe", f"{kind.__name__} is none", instead
    )
