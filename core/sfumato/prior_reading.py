"""Reading the folder of a prior, of numbers or of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato import processes, token_priors
from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.errors import CheckpointError, UnknownNameError
from sfumato.prior_folders import FORMAT, finite, read_weights
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Schedule
from sfumato.registry import load_plugin

__all__ = ["read"]

SCHEDULES = {"EDM", "VE", "VP", "Cosine", "Flow", "SubVP", "Table"}


def read(folder: Path) -> Prior:
    """The prior in a folder.

    Raises:
        CheckpointError: If it is damaged, or of a later version.
    """
    path = folder / "prior.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] > FORMAT:
            raise CheckpointError(
                folder,
                f"format {description['format']} is newer than this version",
                "update sfumato",
            )
        weights = read_weights(folder / "prior.safetensors")
        if description.get("kind") == "tokens":
            return token_priors.build(description, weights)
        return build(description, weights)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, OSError) as error:
        if isinstance(error, CheckpointError | UnknownNameError):
            raise
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(folder, f"it is damaged ({why})") from error


def build(description: dict[str, Any], weights: dict[str, Tensor]) -> Prior:
    options = description["options"]
    settings = dict(description["process"])
    name = settings.pop("schedule")
    if name not in SCHEDULES:
        raise UnknownNameError("schedule", name, SCHEDULES)
    schedule: Schedule = getattr(processes, name)(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
        }
    )
    network = load_plugin(description["plugin"]).part("backbones", description["backbone"])(
        **options
    )
    network.load_state_dict(
        {key: v.float() if v.is_floating_point() else v for key, v in weights.items()}
    )
    finite(network)
    network.eval().requires_grad_(False)
    parts = dict(description["denoiser"])
    parts["range"] = tuple(parts["range"]) if parts.get("range") else None
    return Prior(
        denoiser=Preconditioned(network, Gaussian(schedule), **parts),
        codec=Affine(**description["codec"]),
        shape=tuple(description["shape"]),
        plugin=description["plugin"],
        backbone=description["backbone"],
        options=options,
        card=description["card"],
    )
