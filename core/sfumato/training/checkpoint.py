"""Checkpoints that survive being killed at any moment.

    checkpoints/step-00001000/
        network.safetensors     all weights, or the adapters where only they are trained
        average.safetensors     the moving average
        optimizer.pt            the optimiser's state, read with ``weights_only=True``
        state.json              step, seed, settings, and a digest of each of the other files

A checkpoint is written to a temporary folder, flushed to the disk and then renamed, which is
atomic; the ones before it are removed after that, except the last. Whoever finds a folder called
``step-…`` therefore finds it complete. All randomness of a run is a function of the seed and of
the count of samples, so these two numbers are the state of its generators and of its data.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfumato.errors import CheckpointError, SfumatoError, UnwritableFileError
from sfumato.training import lora
from sfumato.training.configs import TrainConfig
from sfumato.training.ema import EMA
from sfumato.training.histories import History

__all__ = ["State", "average", "latest", "restore", "save"]

FREE = {
    "steps", "workers", "validation_every", "validation_items", "samples", "log_every",
    "checkpoint_minutes", "compile", "batch", "accumulation",
}  # fmt: skip
"""Settings that may change when a run is resumed. The product batch × processes × accumulation
may not, nor anything else that the weights depend on."""

KEPT = 2


@dataclass
class State:
    """Everything about a run that changes.

    Args:
        network: What is trained, unwrapped.
        optimizer: Over its trainable parameters.
        ema: Their average.
        config: Settings.
        total: Samples of one step over all processes.
        step: How many steps are done.
        scaler: Scales the loss in fp16; without effect otherwise.
        history: Losses that loss-aware times are drawn by.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMA
    config: TrainConfig
    total: int
    step: int = 0
    scaler: torch.amp.GradScaler = field(
        default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False)
    )
    history: History | None = None

    def weights(self) -> dict[str, Tensor]:
        """The weights to keep: everything, or adapters and buffers."""
        weights: dict[str, Tensor] = self.network.state_dict()
        if self.config.lora is None:
            return weights
        buffers = {name for name, _ in self.network.named_buffers()}
        small = {name: value for name, value in weights.items() if name in buffers}
        return {**small, **lora.adapters(self.network)}


def save(state: State, folder: str | Path) -> Path:
    """Writes the state under ``folder``; returns the new checkpoint.

    Raises:
        UnwritableFileError: If the disk is full or the folder cannot be written. The checkpoints
            from before stay as they are.
    """
    root = Path(folder)
    final = root / f"step-{state.step:08d}"
    work = root / f".writing-{final.name}"
    try:
        for stale in root.glob(".writing-*"):
            shutil.rmtree(stale)
        work.mkdir(parents=True)
        write(state, work)
        if final.exists():  # of a run that was resumed from before it
            shutil.rmtree(final)
        work.rename(final)
        flush(root)
        for old in complete(root)[:-KEPT]:
            shutil.rmtree(old)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk thus
        shutil.rmtree(work, ignore_errors=True)
        raise UnwritableFileError(final, getattr(error, "strerror", None) or str(error)) from error
    return final


def write(state: State, work: Path) -> None:
    save_file(loose(state.weights()), work / "network.safetensors")
    save_file(loose(state.ema.average), work / "average.safetensors")
    training = {"optimizer": state.optimizer.state_dict(), "scaler": state.scaler.state_dict()}
    torch.save(training, work / "optimizer.pt")
    names = sorted(path.name for path in work.iterdir())
    description = {
        "step": state.step,
        "seed": state.config.seed,
        "sample": state.step * state.total,
        "total": state.total,
        "config": state.config.as_dict(),
        "losses": None if state.history is None else state.history.state(),
        "digests": {name: digest(work / name) for name in names},
    }
    (work / "state.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    for path in work.iterdir():
        flush(path)
    flush(work)


def loose(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU; safetensors refuses tensors that share memory."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }


def flush(path: Path) -> None:
    """Makes sure that a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def complete(folder: str | Path) -> list[Path]:
    """Checkpoints under ``folder``, oldest first."""
    return sorted(Path(folder).glob("step-*"))


def latest(folder: str | Path) -> Path | None:
    """The newest checkpoint under ``folder``, if there is one."""
    found = complete(folder)
    return found[-1] if found else None


def restore(state: State, path: str | Path) -> None:
    """Puts a stored state into ``state``.

    Args:
        state: Of a run with the same settings.
        path: One checkpoint, or the folder of them; then the newest.

    Raises:
        CheckpointError: If there is none, it is damaged, or it comes from other settings.
    """
    checkpoint = Path(path)
    if not (checkpoint / "state.json").exists():
        checkpoint = latest(path) or checkpoint
    description = guarded(checkpoint, lambda: examine(checkpoint))
    check_settings(state, description, checkpoint)
    guarded(checkpoint, lambda: fill(state, description, checkpoint))


def average(checkpoint: str | Path) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint.

    Raises:
        CheckpointError: If it is damaged.
    """
    weights: dict[str, Tensor] = guarded(
        Path(checkpoint), lambda: load_file(Path(checkpoint) / "average.safetensors")
    )
    return weights


def guarded(checkpoint: Path, read: Callable[[], Any]) -> Any:
    """What ``read`` returns; whatever goes wrong in it means a damaged checkpoint."""
    try:
        return read()
    except (
        OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, SafetensorError,
        pickle.UnpicklingError, SfumatoError,
    ) as error:  # fmt: skip
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        others = [path for path in complete(checkpoint.parent) if path != checkpoint]
        fix = (
            f"delete it to go on from '{others[-1].name}'"
            if others and checkpoint.name.startswith("step-")
            else "start again without --resume"
        )
        raise CheckpointError(checkpoint, f"it is missing or damaged ({why})", fix) from error


def examine(checkpoint: Path) -> dict[str, Any]:
    """Reads the description, and compares the files with their digests."""
    text = (checkpoint / "state.json").read_text(encoding="utf-8")
    description: dict[str, Any] = json.loads(text)
    for name, expected in description["digests"].items():
        if digest(checkpoint / name) != expected:
            raise ValueError(f"{name} has changed since it was written")
    return description


def check_settings(state: State, description: dict[str, Any], checkpoint: Path) -> None:
    now = {**state.config.as_dict(), "batch × processes × accumulation": state.total}
    then = {**description["config"], "batch × processes × accumulation": description["total"]}
    for name, value in now.items():
        if name not in FREE and then.get(name) != value:
            raise CheckpointError(
                checkpoint, f"it was made with {name}={then.get(name)}, not {value}",
                "resume with the settings it was made with, or start another run from its prior",
            )  # fmt: skip


def fill(state: State, description: dict[str, Any], checkpoint: Path) -> None:
    weights = load_file(checkpoint / "network.safetensors")
    missing = set(state.weights()) ^ set(weights)
    if missing:
        raise ValueError(f"it is for another network ('{min(missing)}')")
    state.network.load_state_dict(weights, strict=False)
    state.ema.load(load_file(checkpoint / "average.safetensors"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        training = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu")
    state.optimizer.load_state_dict(training["optimizer"])
    state.scaler.load_state_dict(training["scaler"])
    if state.history is not None:
        state.history.restore(description["losses"])
    state.step = int(description["step"])
