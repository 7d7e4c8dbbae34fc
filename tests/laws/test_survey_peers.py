"""The survey's solvers follow diffusers' trajectories on the same grid with the same network."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Preconditioned
from sfumato.noise import Streams
from sfumato.processes import Gaussian, LinearBeta
from sfumato.samplers import PNDM, Exponential, Sampler, SingleStep, run

TABLE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
STEPS = 20
SHAPE = (1, 3, 4, 4)


def network(x: Tensor, step: Tensor) -> Tensor:
    """A smooth, nonlinear stand-in for ε(x, t)."""
    return torch.tanh(x * (1 + step.reshape(-1, 1, 1, 1) / 1000)) + 0.1 * x.roll(1, -1)


def denoiser() -> Preconditioned:
    return Preconditioned(network, Gaussian(LinearBeta()), "eps", noise_label="step")


def start() -> Tensor:
    return Streams.count(5, 1).normal(torch.zeros(SHAPE, dtype=torch.float64))


def theirs(kind: str, steps: int = STEPS, **options: Any) -> tuple[list[float], list[Tensor]]:
    """Timesteps of a diffusers scheduler and the state after each."""
    diffusers = pytest.importorskip("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = getattr(diffusers, kind)(**TABLE, **options)
        scheduler.set_timesteps(steps)
        x, times, states = start(), [], []
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, torch.tensor([float(t)]).to(x)), t, x).prev_sample
            times.append(float(t))
            states.append(x.double())
    return times, states


def grid(times: list[float]) -> Tensor:
    return torch.tensor([(t + 1) / 1000 for t in times], dtype=torch.float64)


UNIPC, DEIS, DPM = (
    "UniPCMultistepScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler"
)  # fmt: skip
FULL = {"lower_order_final": False, "final_sigmas_type": "sigma_min"}
CASES: dict[str, tuple[Sampler, str, dict[str, Any]]] = {
    f"unipc-{p} {rule} {prediction}": (
        Exponential(p, prediction, corrector=True, rule=rule), UNIPC,
        {"solver_order": p, "solver_type": rule, "predict_x0": prediction == "x0", **FULL},
    )
    for p in (1, 2, 3) for rule in ("bh1", "bh2") for prediction in ("x0", "eps")
} | {
    f"deis-{p}": (
        Exponential(p, "eps"), DEIS, {"solver_order": p, "lower_order_final": False}
    )
    for p in (1, 2, 3)
} | {
    "dpm-solver 2m, midpoint": (
        Exponential(2, "eps", rule="bh2"), DPM,
        {"solver_order": 2, "algorithm_type": "dpmsolver", **FULL},
    ),
    "dpm-solver 2m, exact": (
        Exponential(2, "eps"), DPM,
        {"solver_order": 2, "algorithm_type": "dpmsolver", "solver_type": "heun",
         **FULL},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sampler", "kind", "options"), CASES.values(), ids=CASES)
def test_a_multistep_trajectory_equals_diffusers(
    sampler: Sampler, kind: str, options: dict[str, Any]
) -> None:
    times, states = theirs(kind, **options)
    found = run(sampler, denoiser(), start(), grid(times), Streams.count(0, 1))
    # the state before their last step, which goes to another level than ours
    torch.testing.assert_close(found, states[-2], rtol=1e-4, atol=1e-3)


def test_pndm_with_its_runge_kutta_start_equals_diffusers() -> None:
    _, states = theirs("PNDMScheduler", timestep_spacing="leading")
    times = [950.0 - 50 * k for k in range(STEPS)]
    found = run(PNDM(), denoiser(), start(), grid(times), Streams.count(0, 1))
    torch.testing.assert_close(found, states[-2], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++"])
@pytest.mark.parametrize(("order", "rule"), [(2, "bh2"), (2, "exact"), (3, "exact")])
def test_single_steps_equal_diffusers(order: int, rule: str, algorithm: str) -> None:
    # their inner nodes are times of the grid, and their rule "midpoint" halves the slope of inner
    # stages of 3S too, which the paper does not
    times, states = theirs(
        "DPMSolverSinglestepScheduler", order * 6, solver_order=order, algorithm_type=algorithm,
        solver_type="midpoint" if rule == "bh2" else "heun", lower_order_final=True,
        final_sigmas_type="zero" if algorithm == "dpmsolver++" else "sigma_min",
    )  # fmt: skip
    process, x = Gaussian(LinearBeta()), start()
    levels = process.levels(grid(times))
    prediction = "x0" if algorithm == "dpmsolver++" else "eps"
    for i in range(0, order * 5, order):
        t, *inner, s = levels[i : i + order + 1]
        h = t.log_ratio - s.log_ratio
        shares = tuple(float((t.log_ratio - level.log_ratio) / h) for level in inner)
        sampler = SingleStep(order, prediction, rule, shares)
        x = run(sampler, denoiser(), x, torch.stack([t.t, s.t]), Streams.count(0, 1))
        torch.testing.assert_close(x, states[i + order - 1], rtol=1e-4, atol=1e-3)


def test_another_rule_is_another_trajectory() -> None:
    # so the equalities above are not empty
    times, states = theirs(UNIPC, solver_order=2, solver_type="bh1", **FULL)
    found = run(
        Exponential(2, corrector=True, rule="bh2"), denoiser(), start(), grid(times),
        Streams.count(0, 1),
    )  # fmt: skip
    assert float((found - states[-2]).abs().max()) > 10 * 1e-3 / math.sqrt(STEPS)
