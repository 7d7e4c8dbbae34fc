"""Files of weights that others have written: found, read without running code, put to use."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sfumato.errors import CheckpointError, MissingDependencyError
from sfumato.plugin import is_installed

__all__ = ["described", "fill", "first_line", "local", "read_file", "read_weights"]

SUFFIXES = (".ckpt", ".pth", ".pt", ".bin", ".safetensors")


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Puts weights into a network; entries that it has no use for, such as buffers, are left."""
    wanted = dict(network.named_parameters())
    missing = [name for name in wanted if name not in weights]
    wrong = [n for n, p in wanted.items() if n in weights and weights[n].shape != p.shape]
    if missing or wrong:
        what = f"'{missing[0]}' is missing" if missing else f"'{wrong[0]}' has another shape"
        raise CheckpointError(path, f"it does not fit the network ({what})")
    with torch.no_grad():
        for name, p in wanted.items():
            p.copy_(weights[name])


def local(source: str | Path) -> Path:
    """The folder itself, or a copy of the hub's."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise CheckpointError(source, "there is no such folder", "name a folder or 'owner/name'")
    if not is_installed("huggingface_hub"):
        raise MissingDependencyError("the model hub", ["huggingface_hub"], "huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.bin", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(str(source), allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(source, f"the hub does not answer ({first_line(error)})") from error


def described(folder: Path) -> dict[str, Any]:
    """The configuration in a folder."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(folder, f"its config.json cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(folder, "its config.json is no dictionary")
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from however many files."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise CheckpointError(folder, "it holds no .safetensors and no .bin")
    found: dict[str, Tensor] = {}
    for file in files:
        found |= read_file(file)
    return found


def read_file(path: Path) -> dict[str, Any]:
    """What a file of weights holds; tensors only, never code."""
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES)
        if len(files) != 1:
            raise CheckpointError(path, f"it holds {len(files)} checkpoints", "name the file")
        path = files[0]
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            path, "it holds more than tensors and plain values",
            "save its 'state_dict' and 'ema' alone, where it can be trusted",
        ) from error  # fmt: skip
    except (OSError, RuntimeError, ValueError, TypeError, EOFError, SafetensorError) as error:
        raise CheckpointError(path, f"it is damaged ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160].rstrip(".")
