"""The verbs: reconstruct, sample, degrade, explain (``finetune`` is the driver of ``training``)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Unpack, overload

import torch
from torch import Tensor

from sfumato.denoisers import Condition
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.fits import fitted, null_share, residuals
from sfumato.inverse import registry
from sfumato.inverse.operators import Operator
from sfumato.inverse.problems import Solver
from sfumato.inverse.tasks import Task
from sfumato.inverse.tokens import registry as token_registry
from sfumato.inverse.tokens.problems import TokenSolver
from sfumato.inverse.tokens.tasks import TokenTask
from sfumato.prior_runs import loaded, sample_numbers, use
from sfumato.priors import Prior
from sfumato.records import run_record
from sfumato.results import Result
from sfumato.runs import (
    Counter,
    Piece,
    assemble,
    bind,
    check_finite,
    expectation,
    means,
    prepare,
    solve,
)
from sfumato.samplers import Sampler, Start, Step
from sfumato.samplers.tokens import TokenSampler
from sfumato.signals import Signal
from sfumato.signatures import Reconstructing, Sampling
from sfumato.token_priors import TokenPrior
from sfumato.token_results import TokenResult
from sfumato.token_runs import explain_tokens, matched, reconstruct_tokens
from sfumato.token_samples import sample_tokens

__all__ = ["degrade", "explain", "reconstruct", "sample"]

# A plugin's ``operator()`` is a Task and its ``prior()`` a Prior, whatever the plugin is about; so
# these two alone do not say which result they lead to.


@overload
def reconstruct(
    prior: TokenPrior, operator: Task, measurement: Signal, **options: Unpack[Reconstructing]
) -> TokenResult: ...
@overload
def reconstruct(
    prior: Prior | str, operator: TokenTask, measurement: Signal, **options: Unpack[Reconstructing]
) -> TokenResult: ...
@overload
def reconstruct(
    prior: Prior | str, operator: Operator, measurement: Tensor, **options: Unpack[Reconstructing]
) -> Result: ...
@overload
def reconstruct(
    prior: Prior | str, operator: Task, measurement: Signal, **options: Unpack[Reconstructing]
) -> Result | Any: ...
def reconstruct(
    prior: Prior | str,
    operator: Operator | Task,
    measurement: Tensor | Signal,
    *,
    n: int = 4,
    seed: int = 0,
    first: int = 0,
    solver: str | Solver | TokenSolver = "auto",
    steps: int | None = None,
    options: Mapping[str, Any] | None = None,
    budget: int | None = None,
    condition: Condition = None,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    callback: Callable[[float, Step], Any] | None = None,
) -> Result | TokenResult:
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
        device: Where to compute, such as "cuda:1"; ``"auto"`` is CUDA where there is one, else the
            CPU. Where the prior is if not given.
        callback: Called after every step with the share of the work that is done and the step.

    Returns:
        A ``Result``. For a measurement of one item its samples are ``[n, *x]``; for several items
        ``[items, n, *x]``. A prior over tokens gives a ``TokenResult``.

    Raises:
        SfumatoError: If the input does not fit, before any compute.
    """
    started = time.perf_counter()
    if n < 1:
        raise InvalidOptionError("reconstruct", f"n={n}", "ask for 1 sample or more")
    prior = loaded(prior, device)
    if isinstance(prior, TokenPrior) or isinstance(operator, TokenTask):
        prior, task, signal = matched(prior, operator, measurement)
        return reconstruct_tokens(
            prior, task, signal, n=n, seed=seed, first=first, solver=solver, steps=steps,
            options=options, budget=budget, condition=condition, callback=callback,
        )  # fmt: skip
    if isinstance(solver, TokenSolver):
        raise UnsupportedError(repr(solver), "a prior over tokens", "this one is over numbers")
    bound = bind(operator, measurement)
    y = bound.y.to(device=prior.device, dtype=dtype if not bound.y.is_complex() else bound.y.dtype)
    check_finite("the measurement", y)
    pieces = [Piece(bound.operator, y, ())] if not bound.parts else [
        Piece(part.operator, part.y.to(y), (index,)) for index, part in enumerate(bound.parts)
    ]  # fmt: skip
    wanted = bound.steps if steps is None and solver == "auto" else steps
    prepared = [
        prepare(prior, piece, solver, wanted, options, budget, condition) for piece in pieces
    ]
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
    decoded = [prior.codec.decode(part.samples) for part in solved]
    samples = assemble(bound, decoded, n)
    mean, error = expectation(prior, bound, solved)
    seconds = time.perf_counter() - started
    chi2, residual, band = residuals(pieces, decoded, n)
    chosen = prepared[0]
    paths = [bound.signal.path] if bound.signal.path is not None else []
    record = run_record(seed=seed, plugin=prior.plugin, inputs=paths) | {
        "plugin": prior.plugin,
        "operator": describe(operator),
        "prior": prior.card.get("name", ""),
        "prior_hash": prior.hash(),
        "solver": chosen.name,
        "solver_options": describe(chosen.solver),
        "reason": chosen.reason,
        "notes": [*bound.notes, *use(prior, chosen.problem.shape[1:]), *means(chosen, n)],
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
        null_share=null_share(prepared[0].problem, solved[0].samples),
        nfe=counter.forward / max(counter.runs, 1),
        vjp=counter.backward / max(counter.runs, 1),
        seconds=seconds,
        record=record,
        trace=tuple(trace),
        signal=bound.signal if isinstance(operator, Task) else None,
        fitted=None
        if bound.parts
        else fitted(bound.operator, samples.mean(dim=1) if mean is None else mean),
        expectation=mean if mean is None or not single else mean[0],
        expectation_error=error if error is None or not single else error[0],
        rank=samples.ndim - 2,
    )


@overload
def sample(prior: TokenPrior, **options: Unpack[Sampling]) -> tuple[Any, ...]: ...
@overload
def sample(prior: Prior | str, **options: Unpack[Sampling]) -> Tensor | Any: ...
def sample(
    prior: Prior | str,
    *,
    n: int = 1,
    seed: int = 0,
    first: int = 0,
    sampler: str | Sampler | TokenSampler = "auto",
    steps: int | None = None,
    grid: str | None = None,
    start: Start | None = None,
    end: float | None = None,
    shape: tuple[int, ...] | None = None,
    condition: Condition = None,
    scale: float = 1.0,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    callback: Callable[[float, Step], Any] | None = None,
) -> Tensor | tuple[Any, ...]:
    """Draws from a prior, ``[n, *x]`` in physical units; a tuple of draws for tokens.

    Args:
        prior: A prior, or the name or folder of one.
        n: How many.
        seed: Sample j depends on (seed, first + j) and nothing else.
        first: Index of the first sample.
        sampler: Name (``sfumato.presets()``) or instance of a sampler; ``"auto"`` is "deis". For
            tokens, a chain of histories that the prior is, or that leads it, writes from left to
            right by itself; other priors show one place per evaluation.
        steps: Steps of the grid; the preset's, and 30 for others, if not given. Samplers of tokens
            that choose the places themselves take as many as they need.
        grid: Name of a grid (``sfumato.processes.grids``); the preset's, or ``"karras"``.
        start: Where to start instead of at pure noise, in model units.
        end: Smallest σ/α of the grid other than 0; the process's if not given. With few steps, an
            end below which nothing can be seen (0.06 for pictures) leaves more for the rest.
        shape: Shape of one x, where the prior leaves it open.
        condition: What the prior is told: one value for all, or a tensor with one per sample.
        scale: Classifier-free guidance: 1 is none.
        batch: Samples computed at once. Does not change them.
        dtype: Precision of the state.
        device: Where to compute; as in ``reconstruct``.
        callback: Called after every step with the share of the work that is done and the step.

    Raises:
        SfumatoError: If an option does not fit, before any compute.
    """
    prior = loaded(prior, device)
    if n < 1:
        raise InvalidOptionError("sample", f"n={n}", "ask for 1 sample or more")
    if isinstance(prior, TokenPrior):
        return sample_tokens(
            prior, n=n, seed=seed, first=first, sampler=sampler, steps=steps, shape=shape,
            condition=condition, batch=batch, callback=callback,
        )  # fmt: skip
    return sample_numbers(
        prior, n=n, seed=seed, first=first, sampler=sampler, steps=steps, grid=grid, start=start,
        end=end, shape=shape, condition=condition, scale=scale, batch=batch, dtype=dtype,
        callback=callback,
    )  # fmt: skip


@overload
def degrade(task: Task, signal: Signal, *, seed: int = 0) -> Signal: ...
@overload
def degrade(task: Operator, signal: Signal | Tensor, *, seed: int = 0) -> Tensor: ...
def degrade(task: Task | Operator, signal: Signal | Tensor, *, seed: int = 0) -> Signal | Tensor:
    """Simulates a measurement: a ``Signal`` for a plugin's operator, a tensor otherwise."""
    if isinstance(task, Task):
        if not isinstance(signal, Signal):
            raise ShapeError("the input", (), "a Signal, as plugin.read returns")
        return task.degrade(signal, seed=seed)
    data = signal.data.unsqueeze(0) if isinstance(signal, Signal) else signal
    return task.measure(data, seed=seed)


def explain(
    operator: Operator | TokenTask,
    prior: Prior,
    signal: Signal | None = None,
    *,
    budget: int | None = None,
) -> registry.Explanation | token_registry.Explanation:
    """Which solvers apply, what they cost and are, and which is the default and why.

    Args:
        operator: How y arises from x; for tokens the task, whose ``signal`` is needed too.
        prior: The prior.
        signal: The input of a task on tokens.
        budget: Network evaluations per sample that may be spent.

    Raises:
        UnsupportedError: If operator and prior are not about the same kind of data.
    """
    if isinstance(prior, TokenPrior):
        prior, task, given = matched(prior, operator, signal)
        return explain_tokens(prior, task, given, budget=budget)
    if not isinstance(operator, Operator):
        raise UnsupportedError("explain", "operator.bind(signal).operator", f"found {operator!r}")
    return registry.explain(operator, prior.denoiser, budget=budget)


def describe(value: object) -> str:
    return repr(value) if not isinstance(value, Operator) else type(value).__name__
