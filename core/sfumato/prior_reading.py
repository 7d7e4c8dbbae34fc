"""Reading the folder of a prior, of numbers or of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato import token_priors
from sfumato.codecs import Affine
from sfumato.errors import CheckpointError, UnknownNameError
from sfumato.prior_folders import ARRAYS, FORMAT, denoiser_of, finite, read_weights
from sfumato.priors import Prior
from sfumato.processes.storing import gaussian_from
from sfumato.registry import load_plugin

__all__ = ["read"]


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
    held = {key.removeprefix(ARRAYS): v for key, v in weights.items() if key.startswith(ARRAYS)}
    if not all(bool(torch.isfinite(value).all()) for value in held.values()):
        raise ValueError("an array of the process is not finite")
    process = gaussian_from(description["process"], held)
    network = load_plugin(description["plugin"]).part("backbones", description["backbone"])(
        **options
    )
    network.load_state_dict(
        {
            key: v.float() if v.is_floating_point() else v
            for key, v in weights.items()
            if not key.startswith(ARRAYS)
        }
    )
    finite(network)
    network.eval().requires_grad_(False)
    parts = dict(description["denoiser"])
    parts["range"] = tuple(parts["range"]) if parts.get("range") else None
    parts["mirrors"] = tuple(parts.get("mirrors", ()))
    return Prior(
        denoiser=denoiser_of(process)(network, process, **parts),
        codec=Affine(**description["codec"]),
        shape=tuple(description["shape"]),
        plugin=description["plugin"],
        backbone=description["backbone"],
        options=options,
        card=description["card"],
    )
