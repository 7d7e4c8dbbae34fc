"""diffusers' schedulers as tables and grids."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import CheckpointError, InvalidOptionError, SfumatoError
from sfumato.processes import Table
from sfumato_image.backbones import diffusers

__all__ = ["first_line", "grid_from_timesteps", "silent", "table"]

SMALLEST = 1e-12  # ᾱ of a table that ends in pure noise; 0 would divide by 0


def grid_from_timesteps(
    timesteps: Iterable[int], count: int, *, to_data: bool = True
) -> Float[Tensor, " steps_and_1"]:
    """The grid that a diffusers scheduler walks.

    Args:
        timesteps: ``scheduler.timesteps`` after ``set_timesteps``, decreasing.
        count: ``num_train_timesteps``.
        to_data: Whether the last step goes to ᾱ = 1 (``set_alpha_to_one``, the default of
            diffusers' DDIM). Otherwise it goes to the table's first entry, and a last timestep 0
            is a step from there to itself and left out.

    diffusers takes each step down by ``count // steps``. Where the number of steps does not divide
    ``count``, that is not quite the next timestep; ours is.

    Raises:
        InvalidOptionError: If the timesteps are not decreasing or not within the table.
    """
    steps = [int(step) for step in timesteps]
    falling = all(a > b for a, b in pairwise(steps))
    if not steps or not falling or steps[0] >= count or steps[-1] < 0:
        raise InvalidOptionError(
            "timesteps", f"{steps[:3]} … of {count}", f"use decreasing numbers below {count}"
        )
    if not to_data:
        steps = [*steps, 0] if steps[-1] > 0 else steps
    times = torch.tensor(steps, dtype=torch.float64).add(1) / count
    return torch.cat([times, times.new_zeros(1)]) if to_data else times


def table(root: Path, settings: Mapping[str, Any]) -> Table:
    """ᾱ of any scheduler whose configuration describes β."""
    name = settings.get("_class_name", "scheduler")
    if not {"beta_schedule", "trained_betas", "beta_start"} & settings.keys():
        raise CheckpointError(
            root, f"{name} has no table of β", "use DDPM, DDIM, PNDM, Euler or DPM-Solver"
        )
    library = diffusers()
    kind = (
        library.DDIMScheduler if settings.get("rescale_betas_zero_snr") else library.DDPMScheduler
    )
    known = {key: value for key, value in settings.items() if not key.startswith("_")}
    try:
        with silent():
            bars = kind.from_config(known).alphas_cumprod.double().clamp(min=SMALLEST)
        return Table(tuple(bars.tolist()))
    except (SfumatoError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(root, f"the table of {name} cannot be used ({error})") from error


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def silent() -> Iterator[None]:
    """Keeps diffusers' remarks about its own configuration from the terminal."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
