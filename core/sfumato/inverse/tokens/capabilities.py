"""What a problem of tokens offers, as names that solvers state their needs in.

absorbing     the process hides tokens and does nothing else
substituting  the process may turn any token into any other
timeless      the denoiser's answer depends on the state alone, not on the level
memoryless    no machine: every place was measured by itself
unweighted    no expert: no other weight of whole states
given         every place is either known with certainty or was not measured
sequential    the prior is a chain of histories (``sfumato.denoisers.sequential``)
advised       the prior is a product of such a chain and other experts
channel       what was measured is a state of the process: p(y_i | x_i) = q(x_τ = y_i | x₀ = x_i)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from sfumato.errors import UnsupportedError
from sfumato.inverse.tokens.histories import chain_of, members
from sfumato.inverse.tokens.levels import as_state
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.processes.categorical import Categorical
from sfumato.samplers.tokens.base import absorbing

__all__ = ["MEANING", "abilities", "is_substituting", "lacking", "require"]

MEANING = {
    "absorbing": "a process that hides tokens and does nothing else",
    "substituting": "a process that may turn any token into any other",
    "timeless": "a denoiser that does not depend on the level",
    "memoryless": "evidence about single places, without a machine",
    "unweighted": "evidence without an expert",
    "given": "places that are known with certainty or not measured",
    "sequential": "a prior that is a chain of histories, such as n-grams",
    "advised": "a prior that is a product of a chain of histories and other experts",
    "channel": "a channel that is the process's own noise",
}


def is_substituting(process: Categorical) -> bool:
    """Whether every token may be left in place of every other."""
    frequencies = getattr(process, "frequencies", None)
    if frequencies is not None:
        return bool(min(frequencies[: process.tokens]) > 0)
    noise = process.matrix(process.level(0.0), process.level(0.5))
    return bool((noise[: process.tokens, : process.tokens] > 0).all())


def is_given(problem: TokenProblem) -> bool:
    """Whether every place is known or free."""
    sites = problem.sites
    free = (sites == sites[..., :1]).all(dim=-1) & torch.isfinite(sites[..., 0])
    return bool((free | problem.known).all())


TESTS: dict[str, Callable[[TokenProblem], bool]] = {
    "absorbing": lambda problem: absorbing(problem.denoiser.process),
    "substituting": lambda problem: is_substituting(problem.denoiser.process),
    "timeless": lambda problem: not problem.denoiser.takes_time,
    "memoryless": lambda problem: problem.machine is None,
    "unweighted": lambda problem: problem.expert is None,
    "given": is_given,
    "sequential": lambda problem: chain_of(problem.denoiser) is not None,
    "advised": lambda problem: members(problem.denoiser) is not None,
    "channel": lambda problem: as_state(problem) is not None,
}


def abilities(problem: TokenProblem) -> frozenset[str]:
    """The names above that hold for ``problem``."""
    return frozenset(name for name, holds in TESTS.items() if holds(problem))


def lacking(needs: Iterable[str], problem: TokenProblem) -> list[str]:
    """The needs that are not met, in a fixed order; only what is asked for is looked at."""
    wanted = set(needs)
    return [name for name in MEANING if name in wanted and not TESTS[name](problem)]


def require(method: str, needs: Iterable[str], problem: TokenProblem) -> None:
    """Refuses a method that cannot be applied.

    Raises:
        UnsupportedError: Naming what is missing and the methods that can be applied.
    """
    missing = lacking(needs, problem)
    if missing:
        from sfumato.inverse.tokens.registry import applicable

        wanted = " and ".join(MEANING[name] for name in missing)
        raise UnsupportedError(method, wanted, "this problem has not", applicable(problem))
