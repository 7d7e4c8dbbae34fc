"""The verbs: reconstruct, sample, degrade, explain. (``finetune`` is the driver in ``training``.)"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sfumato.config import run_record
from sfumato.denoisers import Condition, Denoiser, Estimate
from sfumato.denoisers.guided import ClassifierFree
from sfumato.errors import InvalidOptionError, NotFiniteError, ShapeError
from sfumato.inverse import registry
from sfumato.inverse.operators import Linear, Operator
from sfumato.inverse.problems import Problem, Solver
from sfumato.inverse.tasks import Bound, Task
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Level
from sfumato.processes.grids import GRIDS
from sfumato.results import Result, chi2_band
from sfumato.samplers import SAMPLERS, Sampler, Step, run
from sfumato.signals import Signal

__all__ = ["degrade", "explain", "reconstruct", "sample"]

ELEMENTS = 4 * 3 * 512 * 512
"""Elements of one batch when no batch size is given; about 1 GB of activations in our UNet."""


def reconstruct(
    prior: Prior | str,
    operator: Operator | Task,
    measurement: Tensor | Signal,
    *,
    n: int = 4,
    seed: int = 0,
    first: int = 0,
    solver: str | Solver = "auto",
    steps: int | None = None,
    options: Mapping[str, Any] | None = None,
    budget: int | None = None,
    condition: Condition = None,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    callback: Callable[[float, Step], Any] | None = None,
) -> Result:
    """Draws samples of x given a measurement y.

    Args:
        prior: A prior, or the name or folder of one.
        operator: How y arises from x, in physical units.
        measurement: y: a tensor with a batch axis in physical units, or a ``Signal`` for a
            plugin's operator.
        n: Samples for each item of the measurement.
        seed: Sample j of item i depends on (seed, first + i, j) and nothing else.
        first: Index of the first item; ``first=i`` repeats item i of a larger batch alone.
        solver: Name of a solver, a ``Solver``, or ``"auto"``.
        steps: Steps of the solver, where it has them.
        options: Further options of a solver given by name.
        budget: Network evaluations per sample that ``"auto"`` may spend.
        condition: What the prior is told, such as ``{"label": 3}``.
        batch: Samples computed at once; chosen from their size if not given. Does not change them.
        dtype: Precision of the state.
        device: Where to compute; where the prior is if not given.
        callback: Called after every step with the share of the work that is done and the step.

    Returns:
        A ``Result``. For a measurement of one item its samples are ``[n, *x]``; for several items
        ``[items, n, *x]``.

    Raises:
        SfumatoError: If the input does not fit, before any compute.
    """
    started = time.perf_counter()
    if n < 1:
        raise InvalidOptionError("reconstruct", f"n={n}", "ask for 1 sample or more")
    prior = Prior.load(prior) if isinstance(prior, str) else prior
    if device is not None and torch.device(device) != prior.device:
        prior = prior.to(device)
    bound = bind(operator, measurement)
    y = bound.y.to(device=prior.device, dtype=dtype if not bound.y.is_complex() else bound.y.dtype)
    check_finite("the measurement", y)
    pieces = [Piece(bound.operator, y, ())] if not bound.parts else [
        Piece(part.operator, part.y.to(y), (index,)) for index, part in enumerate(bound.parts)
    ]  # fmt: skip
    prepared = [prepare(prior, piece, solver, steps, options, budget, condition) for piece in pieces]
    counter = Counter()
    trace: list[dict[str, float]] = []
    work = sum(math.prod(p.problem.shape) for p in prepared)
    done = 0.0
    solved = []
    for part in prepared:
        share = math.prod(part.problem.shape) / work

        def report(inner: float, step: Step, done: float = done, share: float = share) -> None:
            if callback is not None:
                callback(done + share * inner, step)

        solved.append(solve(part, counter, n, seed, first, batch, trace, report))
        done += share
    samples = assemble(prior, bound, solved, n)
    seconds = time.perf_counter() - started
    chi2, residual, band = residuals(pieces, prior, solved, n)
    chosen = prepared[0]
    record = run_record(seed=seed) | {
        "plugin": prior.plugin,
        "operator": describe(operator),
        "prior": prior.card.get("name", ""),
        "prior_hash": prior.hash(),
        "solver": chosen.name,
        "solver_options": describe(chosen.solver),
        "reason": chosen.reason,
        "notes": list(bound.notes),
        "items": len(y),
        "parts": len(bound.parts),
    }
    single = len(y) == 1
    return Result(
        samples=samples[0] if single else samples,
        measurement=y[0].cpu() if single else y.cpu(),
        chi2=chi2[0] if single else chi2,
        residual=residual[0] if single else residual,
        chi2_band=band,
        null_share=null_share(prepared[0].problem, solved[0]),
        nfe=counter.forward / max(counter.runs, 1),
        vjp=counter.backward / max(counter.runs, 1),
        seconds=seconds,
        record=record,
        trace=tuple(trace),
        signal=bound.signal if isinstance(operator, Task) else None,
        rank=samples.ndim - 2,
    )


def sample(
    prior: Prior | str,
    *,
    n: int = 1,
    seed: int = 0,
    first: int = 0,
    sampler: str | Sampler = "heun",
    steps: int = 30,
    grid: str = "karras",
    shape: tuple[int, ...] | None = None,
    condition: Condition = None,
    scale: float = 1.0,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    callback: Callable[[float, Step], Any] | None = None,
) -> Tensor:
    """Draws from a prior, ``[n, *x]`` in physical units.

    Args:
        prior: A prior, or the name or folder of one.
        n: How many.
        seed: Sample j depends on (seed, first + j) and nothing else.
        first: Index of the first sample.
        sampler: Name or instance of a sampler.
        steps: Steps of the grid.
        grid: ``"karras"``, ``"log-snr"`` or ``"uniform"``.
        shape: Shape of one x, where the prior leaves it open.
        condition: What the prior is told: one value for all, or a tensor with one per sample.
        scale: Classifier-free guidance: 1 is none.
        batch: Samples computed at once. Does not change them.
        dtype: Precision of the state.
        device: Where to compute.
        callback: Called after every step with the share of the work that is done and the step.

    Raises:
        SfumatoError: If an option does not fit, before any compute.
    """
    prior = Prior.load(prior) if isinstance(prior, str) else prior
    if device is not None and torch.device(device) != prior.device:
        prior = prior.to(device)
    if n < 1:
        raise InvalidOptionError("sample", f"n={n}", "ask for 1 sample or more")
    if shape is None:
        if None in prior.shape:
            raise ShapeError("shape", (), "given for this prior, such as shape=(3, 64, 64)")
        shape = tuple(k for k in prior.shape if k is not None)
    rule = registry.named("sampler", SAMPLERS, sampler)() if isinstance(sampler, str) else sampler
    denoiser = prior.sized(shape)
    if scale != 1:
        denoiser = ClassifierFree(denoiser, scale)
    times = registry.named("grid", GRIDS, grid)(prior.process, steps)
    size = batch or max(1, ELEMENTS // math.prod(shape))
    whole = expand_condition(prior, condition, n)
    parts = []
    for low in range(0, n, size):
        count = min(size, n - low)
        streams = Streams.count(seed, count, first=first + low)
        blank = torch.zeros(count, *shape, dtype=dtype, device=prior.device)
        x = prior.process.start(blank, prior.process.level(times[0]), streams)
        rows = {key: value[low : low + count] for key, value in whole.items()} or None

        def report(step: Step, low: int = low, count: int = count) -> None:
            if callback is not None:
                callback((low + count * (step.index + 1) / step.count) / n, step)

        x = run(rule, denoiser, x, times, streams, condition=rows, callback=report)
        parts.append(prior.codec.decode(x).cpu())
    return torch.cat(parts)


def degrade(task: Task | Operator, signal: Signal | Tensor, *, seed: int = 0) -> Any:
    """Simulates a measurement: a ``Signal`` for a plugin's operator, a tensor otherwise."""
    if isinstance(task, Task):
        if not isinstance(signal, Signal):
            raise ShapeError("the input", (), "a Signal, as plugin.read returns")
        return task.degrade(signal, seed=seed)
    data = signal.data.unsqueeze(0) if isinstance(signal, Signal) else signal
    return task.measure(data, seed=seed)


def explain(operator: Operator, prior: Prior, **choice: Any) -> registry.Explanation:
    """Which solvers apply, what they cost and are, and which is the default and why."""
    return registry.explain(operator, prior.denoiser, **choice)


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

            estimate.mean.register_hook(count)
        return estimate


def bind(operator: Operator | Task, measurement: Tensor | Signal) -> Bound:
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
        return Prepared(problem, registry.make(name, **given), name, reason, piece.key)
    registry.require(solver, operator, prior.denoiser)
    made = registry.make(solver, **given)
    return Prepared(problem, made, solver, "chosen by the caller", piece.key)


def solve(
    part: Prepared,
    counter: Counter,
    n: int,
    seed: int,
    first: int,
    batch: int | None,
    trace: list[dict[str, float]],
    report: Callable[[float, Step], None],
) -> Tensor:
    """All samples of one piece in model units, ``[items · n, *x]``."""
    items = part.problem.y.shape[0]
    rows = [(item, j) for item in range(items) for j in range(n)]
    size = batch or max(1, ELEMENTS // max(1, math.prod(part.problem.shape[1:])))
    found = []
    for low in range(0, len(rows), size):
        chunk = rows[low : low + size]
        streams = Streams(seed, [(first + item, j, *part.key) for item, j in chunk])
        problem = part.problem.select([item for item, _ in chunk])
        counted = replace(problem, denoiser=Counted(problem.denoiser, counter))

        def callback(step: Step, low: int = low, count: int = len(chunk)) -> None:
            if low == 0 and not part.key:
                trace.append(row(step))
            report((low + count * (step.index + 1) / step.count) / len(rows), step)

        found.append(part.solver(counted, streams, callback=callback))
        counter.runs += len(chunk)
    return torch.cat(found)


def row(step: Step) -> dict[str, float]:
    level = step.level
    ratio = float((level.sigma / level.alpha).max())
    return {"step": step.index + 1, "noise_to_signal": ratio}


def assemble(prior: Prior, bound: Bound, solved: list[Tensor], n: int) -> Tensor:
    """Samples in physical units, ``[items, n, *x]``, on the CPU, with the parts put in place."""
    decoded = [prior.codec.decode(x).cpu() for x in solved]
    if not bound.parts:
        samples = decoded[0].unflatten(0, (-1, n))
    else:
        assert bound.base is not None
        samples = bound.base.expand(1, n, *bound.base.shape).clone()
        for part, x in zip(bound.parts, decoded, strict=True):
            window = samples[(slice(None), slice(None), *part.place)]
            window[(slice(None), slice(None), *part.keep)] = x[(slice(None), *part.keep)]
    for item in samples:
        for j in range(n):
            item[j] = bound.finish(item[j])
    return samples


def residuals(
    pieces: list[Piece], prior: Prior, solved: list[Tensor], n: int
) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """χ², root mean square residual, and the band of χ², over all pieces together."""
    squares, plain, count = torch.zeros(()), torch.zeros(()), 0
    exact = False
    for piece, x in zip(pieces, solved, strict=True):
        z = piece.operator(prior.codec.decode(x))
        y = piece.y.repeat_interleave(n, dim=0)
        likelihood = piece.operator.likelihood
        variance = likelihood.variance
        exact = exact or (variance is not None and bool((variance == 0).any()))
        shape = (piece.y.shape[0], n)
        squares = squares + total(likelihood.residual(y, z)).view(shape)
        plain = plain + total(y - z).view(shape)
        count += piece.operator.observed(piece.y)
    chi2 = torch.full_like(squares, math.nan) if exact else squares / max(count, 1)
    return chi2, (plain / max(count, 1)).sqrt(), chi2_band(count)


def total(values: Tensor) -> Tensor:
    return values.abs().square().flatten(1).sum(dim=1, dtype=torch.float64).cpu()


def null_share(problem: Problem, x: Tensor) -> float:
    """‖x − A⁺A x‖²/‖x‖² of the first sample, in model units."""
    operator = problem.operator
    if not isinstance(operator, Linear):
        return math.nan
    one = x[:1]
    hidden = one - operator.pinv(operator(one))
    return float(total(hidden) / total(one).clamp(min=1e-30))


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
    bad = ~torch.isfinite(data)
    if bool(bad.any()):
        raise NotFiniteError(what, int(bad.sum()), data.numel())


def describe(value: object) -> str:
    return repr(value) if not isinstance(value, Operator) else type(value).__name__
