"""Where priors lie: shipped folders, folders of the user, repositories of a model hub."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sfumato.denoisers import InBasis, Preconditioned, Tangent
from sfumato.errors import CheckpointError, UnknownNameError, UnsupportedError
from sfumato.processes import Gaussian, Riemannian, Spectral
from sfumato.registry import load_plugin, plugins

__all__ = ["ARRAYS", "FORMAT", "denoiser_of", "find", "finite", "plain", "read_weights"]

FORMAT = 1
"""Version of the folder's description."""

ARRAYS = "process/"
"""What the names of the process's own arrays begin with, among the weights."""


def find(source: str, plugin: str | None) -> Path:
    """The folder that ``source`` names."""
    if Path(source, "prior.json").is_file():
        return Path(source)
    candidates = {plugin: load_plugin(plugin)} if plugin else dict(plugins())
    shipped = {name: ref for p in candidates.values() for name, ref in p.priors.items()}
    if source in shipped:
        package, _, inside = shipped[source].partition(":")
        return Path(str(importlib.resources.files(package))) / inside
    if Path(source).exists():
        raise CheckpointError(
            source, "there is no prior.json in it",
            "expected a folder written by 'sfumato finetune' or Prior.save",
        )  # fmt: skip
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return download(source)
    raise UnknownNameError("prior", source, shipped)


def download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, allow_patterns=["prior.json", "prior.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).strip().splitlines()[0]
        raise CheckpointError(source, f"no such folder, and the hub says: {why}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file; raises ``CheckpointError`` if it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(path.parent, f"{path.name} is missing")
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"it is damaged ({error})") from error
    return weights


def denoiser_of(process: Gaussian) -> type[Preconditioned]:
    """What a network is wrapped in under a process."""
    if isinstance(process, Spectral):
        return InBasis
    return Tangent if isinstance(process, Riemannian) else Preconditioned


def plain(value: Any) -> Any:
    """JSON values only: tuples become lists, mappings dictionaries."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    raise UnsupportedError("a prior's description", "JSON values", f"found {type(value).__name__}")


def finite(network: nn.Module) -> None:
    """Raises ``ValueError`` if a weight is NaN or infinite."""
    if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
        raise ValueError("weights are not finite")
