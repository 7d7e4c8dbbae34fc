"""On the same grid, with the same network and noise, samplers follow diffusers' trajectories."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Estimate, Preconditioned
from sfumato.noise import Streams
from sfumato.processes import Gaussian, LinearBeta
from sfumato.samplers import DDIM, DDPM, Churn, DPMSolver, Euler, Heun, Sampler, run

SHAPE = (1, 3, 4, 4)
STEPS = 20
SOLVER = "DPMSolverMultistepScheduler"
TABLE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}


def network(x: Tensor, step: Tensor) -> Tensor:
    """A smooth, nonlinear stand-in for ε(x, t)."""
    return torch.tanh(x * (1 + step.reshape(-1, 1, 1, 1) / 1000)) + 0.1 * x.roll(1, -1)


def start() -> Tensor:
    return Streams.count(5, 1).normal(torch.zeros(SHAPE, dtype=torch.float64))


def theirs(kind: str, **options: Any) -> tuple[list[float], Tensor]:
    """Timesteps and result of a diffusers scheduler."""
    diffusers = pytest.importorskip("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = getattr(diffusers, kind)(**TABLE, **options)
        scheduler.set_timesteps(STEPS)
        generator = Streams.count(0, 1).generators[0]
        x = start()
        if kind == "DDPMScheduler":  # it draws noise in the precision of the state, ours in single
            x = x.float()
        if kind.startswith(("Euler", "Heun")):  # these keep x/α
            x = x * (scheduler.sigmas[0].double() ** 2 + 1).sqrt()
        draws = kind in {"DDPMScheduler", SOLVER}
        extra = {"generator": generator} if draws else {}
        times = []
        for t in scheduler.timesteps:
            eps = network(scheduler.scale_model_input(x, t), torch.as_tensor([float(t)]).to(x))
            x = scheduler.step(eps, t, x, **extra).prev_sample
            times.append(float(t))
    return list(dict.fromkeys(times)), x


def ours(sampler: Sampler, times: list[float]) -> Tensor:
    process = Gaussian(LinearBeta())
    denoiser = Preconditioned(network, process, "eps", noise_label="step")
    grid = torch.tensor([*((t + 1) / 1000 for t in times), 0.0], dtype=torch.float64)
    return run(sampler, denoiser, start(), grid, Streams.count(0, 1))


PLUS, SDE = {"algorithm_type": "dpmsolver++"}, {"algorithm_type": "sde-dpmsolver++"}
LEADING = {"timestep_spacing": "leading"}
CASES = {
    "ddim": (DDIM(), "DDIMScheduler", {"clip_sample": False}),
    "ddpm small": (DDPM(), "DDPMScheduler", {"clip_sample": False}),
    "ddpm large": (
        DDPM("large"), "DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_large"}
    ),
    "euler": (Euler(), "EulerDiscreteScheduler", LEADING),
    "heun": (Heun(), "HeunDiscreteScheduler", LEADING),
    "dpm-solver++ 1": (DPMSolver(1), SOLVER, {**PLUS, "solver_order": 1}),
    "dpm-solver++ 2m": (DPMSolver(2, rule="published"), SOLVER, {**PLUS, "solver_order": 2}),
    "dpm-solver++ 2m, exact weights": (
        DPMSolver(2), SOLVER, {**PLUS, "solver_order": 2, "solver_type": "heun"}
    ),
    "dpm-solver++ 2m sde": (
        DPMSolver(2, eta=1.0, rule="published"), SOLVER, {**SDE, "solver_order": 2}
    ),
    "dpm-solver++ 2m sde, exact weights": (
        DPMSolver(2, eta=1.0), SOLVER, {**SDE, "solver_order": 2, "solver_type": "heun"}
    ),
    "dpm-solver++ 3m": (
        DPMSolver(3, rule="published"), SOLVER,
        {**PLUS, "solver_order": 3, "lower_order_final": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sampler", "kind", "options"), CASES.values(), ids=CASES)
def test_a_trajectory_equals_diffusers(
    sampler: Sampler, kind: str, options: dict[str, Any]
) -> None:
    times, expected = theirs(kind, **options)
    assert len(times) == STEPS
    torch.testing.assert_close(ours(sampler, times), expected.double(), rtol=1e-4, atol=1e-3)


def test_the_third_order_sde_step_is_that_of_k_diffusion() -> None:
    # diffusers (0.42) has the opposite sign at one half of the last weight; k-diffusion has not
    process = Gaussian(LinearBeta())
    levels = process.levels(process.schedule.time_of(torch.tensor([0.9, 0.5, 0.2, -0.4])))
    denoised = [start().roll(k, -1) for k in range(3)]
    x = start()
    lambdas = [-level.log_ratio for level in levels]
    h, h_1, h_2 = (lambdas[3 - k] - lambdas[2 - k] for k in range(3))
    r_0, r_1, h_eta = h_1 / h, h_2 / h, 2 * h
    d1_0, d1_1 = (denoised[2] - denoised[1]) / r_0, (denoised[1] - denoised[0]) / r_1
    d1, d2 = d1_0 + (d1_0 - d1_1) * r_0 / (r_0 + r_1), (d1_0 - d1_1) / (r_0 + r_1)
    phi_2 = torch.expm1(-h_eta) / h_eta + 1
    phi_3 = phi_2 / h_eta - 0.5
    y = torch.exp(-h_eta) * x / levels[2].alpha - torch.expm1(-h_eta) * denoised[2]
    y = y + phi_2 * d1 - phi_3 * d2
    z = Streams.count(0, 1).normal(x)
    y = y + z * levels[3].ratio * (-torch.expm1(-2 * h)).sqrt()
    history = list(zip(levels[:2], denoised[:2], strict=True))
    found = DPMSolver(3, eta=1.0, rule="published").step(
        lambda *_: Estimate(denoised[2]), x, levels[2], levels[3], Streams.count(0, 1), history
    )
    torch.testing.assert_close(found, levels[3].alpha * y)


def test_churn_is_that_of_karras() -> None:
    # written out from algorithm 2 of Karras et al. (2022), on VE coordinates
    process = Gaussian(LinearBeta())
    denoiser = Preconditioned(network, process, "eps", noise_label="step")
    t, s = process.at_ratio(1.0), process.at_ratio(0.6)
    gamma, s_noise, x = 0.3, 1.01, start()
    up = process.at_ratio(1.0 + gamma)
    z = Streams.count(0, 1).normal(x)
    y = x / t.alpha + s_noise * (up.ratio**2 - t.ratio**2).sqrt() * z
    d = (y - denoiser(up.alpha * y, up).mean) / up.ratio
    y_s = y + (s.ratio - up.ratio) * d
    d_s = (y_s - denoiser(s.alpha * y_s, s).mean) / s.ratio
    expected = s.alpha * (y + (s.ratio - up.ratio) * (d + d_s) / 2)
    sampler = Heun(Churn(gamma, noise=s_noise))
    found = sampler.step(lambda x, t: denoiser(x, t), x, t, s, Streams.count(0, 1), [])
    torch.testing.assert_close(found, expected)
