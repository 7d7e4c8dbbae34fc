"""Evidence that can be met, and who is to blame where it can't.

What can be seen without the prior is seen before any compute: a place at which every token has
weight 0, a pattern that the known tokens contradict. What the prior itself excludes shows on the
way. Both are an ``ImpossibleError`` that names the item and the place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfumato.denoisers.categorical import valid_places
from sfumato.errors import ImpossibleError, NotFiniteError, ShapeError, UnsupportedError
from sfumato.factors.base import Machine
from sfumato.inverse.tokens.capabilities import require
from sfumato.inverse.tokens.problems import TokenProblem

__all__ = ["blame", "possible", "ready", "real_places"]


def real_places(problem: TokenProblem) -> Bool[Tensor, "batch *x"]:
    """Places that exist."""
    blank = torch.zeros(problem.shape, dtype=torch.long, device=problem.sites.device)
    return valid_places(blank, problem.condition)


def ready(method: str, needs: Iterable[str], problem: TokenProblem) -> TokenProblem:
    """The problem with float64 sites that are 0 at places that don't exist, if it can be solved.

    Raises:
        ShapeError: If sites, machine and prior don't have the same alphabet.
        NotFiniteError: If a site is NaN or +∞.
        UnsupportedError: If the method lacks something, or a machine is given states that are no
            rows of equal length.
        ImpossibleError: If no x agrees with sites and machine.
    """
    tokens = problem.denoiser.process.tokens
    if problem.sites.ndim < 2 or problem.sites.shape[-1] != tokens:
        raise ShapeError("table of evidence", problem.sites.shape, f"batch×…×{tokens} tokens")
    bad = torch.isnan(problem.sites) | (problem.sites == torch.inf)
    if bool(bad.any()):
        raise NotFiniteError("log-evidence", int(bad.sum()), bad.numel())
    real = real_places(problem)
    if problem.machine is not None:
        fits(method, problem, problem.machine, real)
    sites = torch.where(real.unsqueeze(-1), problem.sites.double(), 0.0)
    made = replace(problem, sites=sites)
    require(method, needs, made)
    possible(made)
    return made


def fits(method: str, problem: TokenProblem, machine: Machine, real: Tensor) -> None:
    """Refuses a machine of another alphabet, and states that it can't read."""
    if machine.tokens != problem.sites.shape[-1]:
        tokens = problem.sites.shape[-1]
        raise ShapeError("alphabet of the machine", [machine.tokens], f"{tokens}, as the prior's")
    if len(problem.shape) != 2 or not bool(real.all()):
        found = f"this state is {'×'.join(map(str, problem.shape[1:]))} with padding"
        raise UnsupportedError(
            f"{method} with a machine", "a row of tokens without padding",
            found if len(problem.shape) == 2 else found.removesuffix(" with padding"),
        )  # fmt: skip


def possible(problem: TokenProblem) -> None:
    """Refuses evidence that no x agrees with, whatever the prior.

    Raises:
        ImpossibleError: Naming the item and the place.
    """
    empty = torch.isinf(problem.sites).all(dim=-1)
    if bool(empty.any()):
        refuse(tuple(empty.nonzero()[0].tolist()), "every token has weight 0 there")
    if problem.machine is not None:
        seen: list[Tensor] = []  # items with equal evidence, as all samples of one, are asked once
        for item, sites in enumerate(problem.sites):
            if any(torch.equal(sites, other) for other in seen):
                continue
            seen.append(sites)
            if (place := dead_end(problem.machine, sites)) is not None:
                refuse((item, place), "pattern and evidence contradict each other")


def dead_end(machine: Machine, log_q: Float[Tensor, "places tokens"]) -> int | None:
    """The first place after which no path goes on; the number of places if it can't end."""
    log_a = machine.initial.to(log_q.device)[None]
    for place, row in enumerate(log_q):
        log_a = machine.forward(place, log_a, row[None])
    if bool((log_a + machine.final.to(log_q.device) > -torch.inf).any()):
        return None
    log_a = machine.initial.to(log_q.device)[None]
    for place, row in enumerate(log_q):
        log_a = machine.forward(place, log_a, row[None])
        if not bool((log_a > -torch.inf).any()):
            return place
    return len(log_q)


def blame(problem: TokenProblem, item: int, log_q: Float[Tensor, "rows *x tokens"]) -> NoReturn:
    """Raises for an item whose evidence no particle agrees with any more.

    Args:
        problem: The problem.
        item: Which item.
        log_q: Beliefs times sites of its particles.

    Raises:
        ImpossibleError: Naming the place at which most particles have nothing left.
    """
    stuck = torch.isinf(log_q).all(dim=-1).sum(dim=0)
    if bool(stuck.any()):
        place = torch.unravel_index(stuck.argmax(), stuck.shape)
        refuse((item, *(int(p) for p in place)), "the prior excludes what was measured")
    if problem.machine is not None:
        ends = [dead_end(problem.machine, row) for row in log_q]
        places = [end for end in ends if end is not None]
        if places:
            refuse((item, max(places)), "the prior excludes every path of the pattern")
    refuse((item,), "every state that was tried has weight 0")


def refuse(where: tuple[int, ...], why: str) -> NoReturn:
    """Raises with the item and, if there is one, the place."""
    item, *place = where
    name = f"place {place[0]}" if len(place) == 1 else f"place {tuple(place)}"
    at = f"at {name} of item {item}" if place else f"in item {item}"
    raise ImpossibleError(
        "evidence", f"{at} ({why})",
        "let every token have a small weight, check pattern and channel, or use more particles",
    )  # fmt: skip
