"""Running a solver of tokens: what lies between the verbs and a ``TokenSolver``.

A signal is posed as evidence on the prior's tokens, part by part. All samples of a part are items
of one batch with equal evidence, each drawn from its own stream.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.inverse.operators import Operator
from sfumato.inverse.problems import Solver
from sfumato.inverse.tasks import Task
from sfumato.inverse.tokens import registry
from sfumato.inverse.tokens.evidence import possible
from sfumato.inverse.tokens.problems import TokenProblem, TokenSolver
from sfumato.inverse.tokens.tasks import PartDraws, TokenPart, TokenTask
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.records import run_record
from sfumato.samplers.base import Step
from sfumato.signals import Signal
from sfumato.token_priors import TokenPrior
from sfumato.token_results import TokenResult

__all__ = ["explain_tokens", "matched", "problem_of", "reconstruct_tokens"]

Progress = Callable[[float, Step], Any]


@dataclass(frozen=True, eq=False)
class Counted(TokenDenoiser):
    """A denoiser that counts its calls, one per item."""

    inner: TokenDenoiser
    counts: list[int]

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.inner.process

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.inner.takes_time

    def note(self, items: int) -> None:
        """Counts evaluations of a part of the denoiser that a solver asks by itself."""
        self.counts[0] += items

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        self.note(len(x_t))
        return self.inner(x_t, t, condition)


def reconstruct_tokens(
    prior: TokenPrior,
    task: TokenTask,
    signal: Signal,
    *,
    n: int,
    seed: int,
    first: int,
    solver: str | Solver | TokenSolver,
    steps: int | None,
    options: Mapping[str, Any] | None,
    budget: int | None,
    condition: Condition,
    callback: Progress | None,
) -> TokenResult:
    """Draws readings of a damaged signal; arguments as in ``sfumato.reconstruct``."""
    started = time.perf_counter()
    posed = task.pose(signal, prior)
    problems = [problem_of(prior, part, condition) for part in posed.parts]
    given = dict(options or {}) | ({} if steps is None else {"steps": steps})
    if posed.steps is not None and steps is None and solver == "auto":
        given["steps"] = posed.steps
    asked = posed.solver if solver == "auto" else solver
    chosen = [choose(problem, asked, given, budget, posed.compared) for problem in problems]
    for problem in problems:
        possible(problem)
    work = sum(math.prod(problem.shape) for problem in problems) or 1
    counts, done = [0], 0.0
    trace: list[dict[str, float]] = []
    solved: list[PartDraws] = []
    for index, (problem, (method, _, _)) in enumerate(zip(problems, chosen, strict=True)):
        share = math.prod(problem.shape) / work

        def report(step: Step, done: float = done, share: float = share) -> None:
            if done == 0:
                trace.append({"step": step.index + 1})
            if callback is not None:
                callback(done + share * (step.index + 1) / step.count, step)

        many = max(n, posed.ranked) if method.cheap_draws else n
        streams = Streams(seed, [(first, j, index) for j in range(many)])
        counted = replace(repeated(problem, many), denoiser=Counted(problem.denoiser, counts))
        solved.append(drawn(method, counted, streams, report))
        done += share
    found = posed.assemble(solved, n)
    name, reason = (chosen[0][1], chosen[0][2]) if chosen else ("none", "nothing is open")
    paths = [signal.path] if signal.path is not None else []
    record = run_record(seed=seed, plugin=prior.plugin, inputs=paths) | {
        "plugin": prior.plugin,
        "operator": repr(task),
        "prior": prior.card.get("name", ""),
        "prior_hash": prior.hash(),
        "solver": name,
        "solver_options": repr(chosen[0][0]) if chosen else "",
        "reason": reason,
        "notes": [*posed.notes, *found.notes],
        "items": 1,
        "parts": len(problems),
    }
    effective = [d.effective for d in solved if not math.isnan(d.effective)]
    together = sum(d.log_evidence for d in solved) if solved else math.nan
    return TokenResult.of(
        found,
        log_evidence=together if found.log_evidence is None else found.log_evidence,
        effective=min(effective, default=math.nan),
        nfe=counts[0] / n,
        seconds=time.perf_counter() - started,
        record=record,
        trace=tuple(trace),
        source=signal,
    )


def problem_of(prior: TokenPrior, part: TokenPart, condition: Condition) -> TokenProblem:
    """A part as a problem of one item."""
    told = {key: torch.as_tensor(v)[None] for key, v in part.condition.items()}
    merged = {**(condition or {}), **told} or None
    sites = part.sites[None].to(prior.device)
    denoiser = part.denoiser or prior.denoiser
    return TokenProblem(denoiser, sites, part.machine, part.expert, merged)


def choose(
    problem: TokenProblem,
    asked: str | Solver | TokenSolver,
    given: Mapping[str, Any],
    budget: int | None,
    compared: bool,
) -> tuple[TokenSolver, str, str]:
    """The solver with its name and why it was chosen.

    Raises:
        UnsupportedError: If it is for numbers, or if parts are to be compared and its evidence
            leaves known tokens out.
    """
    if isinstance(asked, Solver):
        raise UnsupportedError(repr(asked), "a prior over numbers", "this one is over tokens")
    reason = "chosen by the caller"
    if isinstance(asked, TokenSolver):
        method, name = asked, type(asked).__name__
    else:
        name = asked
        if asked == "auto":
            name, reason = registry.choose(problem, budget=budget)
            if compared and not scores_known(registry.make(name)):
                name, reason = "twisted", "cases are compared by the evidence of all tokens"
        else:
            registry.require(asked, problem)
        method = registry.make(name, **given)
    if compared and hasattr(method, "score_known") and "score_known" not in given:
        method = replace(method, score_known=True)  # type: ignore[type-var]
    if compared and not (method.exact_evidence or getattr(method, "score_known", False)):
        raise UnsupportedError(
            f"solver '{name}'", "parts that don't exclude each other, as gaps of unknown length do",
            "it tells no evidence of the known tokens; use lattice or twisted, or state lengths",
        )  # fmt: skip
    return method, name, reason


def scores_known(method: TokenSolver) -> bool:
    """Whether a solver's evidence can be that of all tokens."""
    return method.exact_evidence or hasattr(method, "score_known")


def repeated(problem: TokenProblem, n: int) -> TokenProblem:
    """The same item n times."""
    told = problem.told([0] * n)
    return replace(problem, sites=problem.sites.expand(n, *problem.sites.shape[1:]), condition=told)


def drawn(
    method: TokenSolver, problem: TokenProblem, streams: Streams, report: Callable[[Step], None]
) -> PartDraws:
    """All samples of one part, and what they say together."""
    found = method(problem, streams, callback=report)
    tokens = problem.sites.shape[-1]
    if found.marginals is not None:
        marginals = found.marginals.double().mean(dim=0)
    else:
        seen = functional.one_hot(found.x, tokens).double().sum(dim=0)
        able = (problem.sites[0] > -torch.inf).double()
        # n draws say no more than that: one more may show any token that is possible
        marginals = (seen + able / able.sum(dim=-1, keepdim=True)) / (len(found.x) + 1)
    evidence = found.log_evidence.double()
    # each item's estimate of p(y) is unbiased, so their mean is
    log_evidence = float(torch.logsumexp(evidence, dim=0) - math.log(len(evidence)))
    effective = found.effective[~found.effective.isnan()]
    return PartDraws(
        found.x.cpu(), marginals.cpu(), log_evidence,
        float(effective.min()) if len(effective) else math.nan,
        draws.uniform(torch.empty(len(found.x), 1), streams.spawn("choice"))[:, 0],
        evidence.cpu(),
    )  # fmt: skip


def explain_tokens(
    prior: TokenPrior, task: TokenTask, signal: Signal, *, budget: int | None = None
) -> registry.Explanation:
    """Which solvers apply to the first part of an input; arguments as in ``sfumato.explain``.

    Raises:
        InvalidOptionError: If nothing is open.
    """
    posed = task.pose(signal, prior)
    if not posed.parts:
        raise InvalidOptionError("explain", "the input leaves nothing open", "give another")
    problem = problem_of(prior, posed.parts[0], None)
    found = registry.explain(problem, budget=budget)
    _, name, reason = choose(problem, posed.solver, {}, budget, posed.compared)
    return replace(found, default=name, reason=reason)


def matched(
    prior: Prior, operator: Operator | Task, signal: Tensor | Signal | None
) -> tuple[TokenPrior, TokenTask, Signal]:
    """The three, if all are about tokens.

    Raises:
        UnsupportedError: If one of them is not.
    """
    if not isinstance(prior, TokenPrior):
        raise UnsupportedError(type(operator).__name__, "a prior over tokens", f"found {prior!r}")
    if not isinstance(operator, TokenTask):
        found = f"found {type(operator).__name__}"
        raise UnsupportedError("a prior over tokens", "an operator on tokens", found)
    if not isinstance(signal, Signal):
        raise ShapeError("the input", (), "a Signal, as plugin.read returns")
    return prior, operator, signal
