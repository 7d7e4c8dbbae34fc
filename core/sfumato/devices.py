"""Where to compute: a name of a device, checked before anything is moved there."""

from __future__ import annotations

import torch

from sfumato.errors import InvalidOptionError

__all__ = ["AUTO", "available"]

AUTO = "auto"
"""CUDA where torch finds a device of it, the CPU elsewhere."""


def available(device: torch.device | str) -> torch.device:
    """The device with its index, such as ``cuda:0`` for ``"cuda"``.

    Args:
        device: As torch names it, or ``"auto"``.

    Raises:
        InvalidOptionError: If there is no such device, or it has no float64, in which schedules and
            tables of probabilities are kept.
    """
    if str(device) == AUTO:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.ones((), dtype=torch.float64, device=device)
        probe.item()
    # torch reports a device that is missing, not compiled in, or without float64 as each of these
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise InvalidOptionError(
            "device", f"'{device}' cannot be used ({why})", "try cpu, or auto"
        ) from error
    return probe.device
