"""Running a solver on a measurement: what lies between the verb ``reconstruct`` and a solver.

A measurement is cut into pieces where an operator says so, each piece becomes a problem in model
units, samples are drawn in batches from one stream each, and what comes out is put together and
compared with the measurement in physical units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate
from sfumato.denoisers.mirrored import mirrored
from sfumato.errors import InvalidOptionError, NotFiniteError, ShapeError
from sfumato.expectations import Expectation
from sfumato.inverse import registry
from sfumato.inverse.operators import Operator
from sfumato.inverse.problems import First, Problem, Solver
from sfumato.inverse.tasks import Bound, Task
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Level
from sfumato.samplers import Step
from sfumato.signals import Signal

__all__ = [
    "ELEMENTS",
    "Counter",
    "Piece",
    "Prepared",
    "assemble",
    "bind",
    "check_finite",
    "expand_condition",
    "expectation",
    "means",
    "prepare",
    "solve",
]

ELEMENTS = 3 * 512 * 512
"""Elements of one batch when no batch size is given. On CPUs four 512² pictures at once took twice
the time of one after the other, for want of cache."""


@dataclass(frozen=True, eq=False)
class Piece:
    """An operator and its measurement in physical units."""

    operator: Operator
    y: Tensor
    key: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A piece as a problem in model units, with its solver."""

    problem: Problem
    solver: Solver
    name: str
    reason: str
    key: tuple[int, ...]


class Solved(NamedTuple):
    """What a solver found out about one piece, in model units."""

    samples: Tensor
    """``[items · n, *x]``."""
    mean: Tensor | None
    """Posterior mean as read off on the way, ``[items, *x]``, if the solver does."""
    error: Tensor | None
    """Its standard error, if it is known."""


class Counter:
    """Counts network evaluations and backward passes, per sample."""

    def __init__(self) -> None:
        self.forward = self.backward = 0.0
        self.runs = 0


@dataclass(frozen=True, eq=False)
class Counted(Denoiser):
    """A denoiser that counts its calls, weighted by the share of one sample's batch."""

    inner: Denoiser
    counter: Counter

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        items = x_t.shape[0]
        self.counter.forward += items
        estimate = self.inner(x_t, t, condition)
        if estimate.mean.requires_grad:

            def count(_: Tensor) -> None:
                self.counter.backward += items

            estimate.mean.register_hook(count)  # type: ignore[no-untyped-call]
        return estimate


def bind(operator: Operator | Task, measurement: Tensor | Signal) -> Bound:
    """An operator of either kind with its input."""
    if isinstance(operator, Task):
        if not isinstance(measurement, Signal):
            raise ShapeError("the input", measurement.shape, "a Signal, as plugin.read returns")
        check_finite("the input", measurement.data)
        return operator.bind(measurement)
    if isinstance(measurement, Signal):
        return Bound(operator, measurement.data.unsqueeze(0), measurement)
    return Bound(operator, measurement, Signal(measurement))


def prepare(
    prior: Prior,
    piece: Piece,
    solver: str | Solver,
    steps: int | None,
    options: Mapping[str, Any] | None,
    budget: int | None,
    condition: Condition,
) -> Prepared:
    """A piece as a problem in model units, with the solver that was asked for."""
    shape = piece.operator.data_shape(tuple(piece.y.shape))
    denoiser = prior.sized(shape[1:])
    operator, y = prior.codec.to_model(piece.operator, piece.y)
    problem = Problem(denoiser, operator, y, expand_condition(prior, condition, len(y)) or None)
    given = dict(options or {})
    if steps is not None:
        given["steps"] = steps
    if isinstance(solver, Solver):
        return Prepared(problem, solver, type(solver).__name__, "chosen by the caller", piece.key)
    if solver == "auto":
        name, reason = registry.choose(operator, prior.denoiser, budget=budget)
        method = registry.METHODS[name]
        pilot = dict(method.options).get("pilot_steps", 0)
        if budget is not None and pilot and method.evaluations + pilot > budget:
            given.setdefault("pilot_steps", 0)
        return Prepared(problem, registry.make(name, **given), name, reason, piece.key)
    registry.require(solver, operator, prior.denoiser)
    made = registry.make(solver, **given)
    return Prepared(problem, made, solver, "chosen by the caller", piece.key)


def means(part: Prepared, n: int) -> tuple[str, ...]:
    """What a person should be told of what the samples of a solver mean."""
    if not part.solver.point or n == 1:
        return ()
    return (f"{part.name} makes one estimate: its {n} samples are the same, without spread",)


def solve(
    part: Prepared,
    counter: Counter,
    n: int,
    seed: int,
    first: int,
    batch: int | None,
    trace: list[dict[str, float]],
    report: Callable[[float, Step], None],
) -> Solved:
    """All samples of one piece."""
    items = part.problem.y.shape[0]
    alike = n if part.solver.point else 1
    rows = [(item, j) for item in range(items) for j in range(n // alike)]
    size = batch or max(1, ELEMENTS // max(1, math.prod(part.problem.shape[1:])))
    seen = Expectation(items, n, exact=part.solver.exact)
    whole, solver = part.problem, part.solver
    before = items if solver.prepares else 0
    work = before + len(rows)

    def begin(chunk: Sequence[tuple[int, ...]]) -> tuple[Problem, Streams]:
        streams = Streams(seed, [(first + item, *rest, *part.key) for item, *rest in chunk])
        problem = whole.select([item for item, *_ in chunk])
        denoiser = problem.denoiser
        if solver.lockstep:
            denoiser = mirrored(denoiser, [rest[0] if rest else 0 for _, *rest in chunk])
        return replace(problem, denoiser=Counted(denoiser, counter)), streams

    def prepare(low: int) -> First | None:
        chunk = [(item,) for item in range(low, min(low + size, items))]

        def callback(step: Step) -> None:
            report((low + len(chunk) * (step.index + 1) / step.count) / work, step)

        return solver.prepare(*begin(chunk), n=n, callback=callback)

    def draw(low: int) -> Tensor:
        chunk = rows[low : low + size]

        def callback(step: Step) -> None:
            if low == 0 and not part.key:
                trace.append(row(step))
            mean = solver.mean_from(step)
            if mean is not None:
                seen.add(low, step.index, mean)
            done = before + low + len(chunk) * (step.index + 1) / step.count
            report(done / work, step)

        return solver(*begin(chunk), callback=callback)

    whole = replace(whole, first=joined([prepare(low) for low in range(0, before, size)]))
    found = [draw(low) for low in range(0, len(rows), size)]
    counter.runs += len(rows)
    samples = torch.cat(found).repeat_interleave(alike, dim=0)
    leaning = whole.first.estimate if whole.first and n > 1 else None
    return Solved(samples, *seen.mean(samples, leaning))


def joined(parts: list[First | None]) -> First | None:
    """What was found for the items of several batches; they agree about the rest."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    return replace(found[0], estimate=torch.cat([part.estimate for part in found]))


def row(step: Step) -> dict[str, float]:
    level = step.level
    ratio = float((level.sigma / level.alpha).max())
    return {"step": step.index + 1, "noise_to_signal": ratio}


def assemble(bound: Bound, decoded: list[Tensor], n: int) -> Tensor:
    """Samples ``[items, n, *x]`` on the CPU, with the parts put in place.

    Args:
        bound: Where the parts belong, and what is put back.
        decoded: Samples of each piece in physical units, ``[items · n, *x]``.
        n: Samples of each item.
    """
    if not bound.parts:
        samples = decoded[0].cpu().reshape(-1, n, *decoded[0].shape[1:])
    else:
        assert bound.base is not None
        samples = bound.base.expand(1, n, *bound.base.shape).clone()
        for part, x in zip(bound.parts, decoded, strict=True):
            window = samples[(slice(None), slice(None), *part.place)]
            window[(slice(None), slice(None), *part.keep)] = x.cpu()[(slice(None), *part.keep)]
    for item in samples:
        for j in range(n):
            item[j] = bound.finish(item[j])
    return samples


def expectation(
    prior: Prior, bound: Bound, solved: list[Solved]
) -> tuple[Tensor | None, Tensor | None]:
    """The posterior mean that the solver read off, and its error, ``[items, *x]``."""
    means = [part.mean for part in solved if part.mean is not None]
    errors = [part.error for part in solved if part.error is not None]
    if len(means) < len(solved):
        return None, None
    mean = assemble(bound, [prior.codec.decode(x) for x in means], 1)[:, 0]
    if len(errors) < len(solved):
        return mean, None
    # what is put back is the same in all samples, so their spread says that it is known
    base = None if bound.base is None else torch.zeros_like(bound.base)
    plain = replace(bound, base=base, finish=lambda x: x)
    return mean, assemble(plain, [prior.codec.spread(x) for x in errors], 1)[:, 0]


def expand_condition(prior: Prior, condition: Condition, count: int) -> dict[str, Any]:
    """Conditions as tensors with one row per item, checked."""
    found = {}
    for key, value in (condition or {}).items():
        rows = torch.as_tensor(value, device=prior.device)
        rows = rows.expand(count) if rows.ndim == 0 else rows
        if len(rows) != count:
            raise ShapeError(f"condition '{key}'", rows.shape, f"one value, or {count}")
        if key == "label":
            if not prior.classes:
                raise InvalidOptionError("label", "this prior has no classes", "leave it out")
            if bool(((rows < 0) | (rows >= prior.classes)).any()):
                raise InvalidOptionError("label", f"{value}", f"use 0 to {prior.classes - 1}")
        found[key] = rows
    return found


def check_finite(what: str, data: Tensor) -> None:
    """Raises ``NotFiniteError`` if any value is NaN or infinite."""
    bad = ~torch.isfinite(data)
    if bool(bad.any()):
        raise NotFiniteError(what, int(bad.sum()), data.numel())
