"""Categorical processes as JSON values, for the folder of a prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sfumato.errors import UnknownNameError, UnsupportedError
from sfumato.processes import survivals
from sfumato.processes.categorical import Categorical
from sfumato.processes.mixing import Absorbing, Mixing, Uniform
from sfumato.processes.survivals import Survival

__all__ = ["categorical_from", "named"]

SURVIVALS = {"LinearSurvival", "CosineSurvival", "TableSurvival"}


def named(process: Categorical) -> dict[str, Any]:
    """What makes ``process`` again.

    Raises:
        UnsupportedError: If it is of a kind that no folder holds.
    """
    if not isinstance(process, Mixing):
        raise UnsupportedError("a prior's folder", "a mixing process", type(process).__name__)
    survival: Any = process.survival
    common = {
        "tokens": process.tokens,
        "survival": {"name": type(survival).__name__, **asdict(survival)},
    }
    for kind, make in (("absorbing", Absorbing), ("uniform", Uniform)):
        if process == make(process.tokens, survival):
            return {"kind": kind, **common}
    return {"kind": "mixing", **common, "frequencies": list(process.frequencies)}


def categorical_from(description: Mapping[str, Any]) -> Categorical:
    """The process that ``named`` described.

    Raises:
        UnknownNameError: If kind or survival are of a later version.
    """
    settings = dict(description["survival"])
    name = settings.pop("name")
    if name not in SURVIVALS:
        raise UnknownNameError("survival", name, SURVIVALS)
    survival: Survival = getattr(survivals, name)(
        **{key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    )
    kind, tokens = description["kind"], description["tokens"]
    if kind == "mixing":
        return Mixing(tokens, tuple(description["frequencies"]), survival)
    kinds = {"absorbing": Absorbing, "uniform": Uniform}
    if kind not in kinds:
        raise UnknownNameError("process", kind, [*kinds, "mixing"])
    return kinds[kind](tokens, survival)
