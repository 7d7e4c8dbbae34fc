"""Restoration by other libraries with the same network.

deepinv asks for a denoiser of pictures in [0, 1] at noise σ; its proximal maps get the closed forms
of our operators in place of its conjugate gradients, which saves it time and changes nothing else.
diffusers has one restoration method for unconditional networks in pixel space, the RePaint
scheduler, for masks; its other pipelines for these tasks have networks of their own.

Settings are the libraries' unless the name says otherwise. DiffPIR and DPIR divide by the noise's
standard deviation; where there is none they are given 0.001, as their authors do. DPIR starts from
A*y, for masks from the biharmonic filling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from degradations import Case
from sfumato.denoisers import Denoiser
from sfumato.inverse.operators import Linear
from sfumato.inverse.standard import Mask
from sfumato.priors import Prior
from sfumato_image.baselines import biharmonic

__all__ = ["DETERMINISTIC", "PEERS", "Counted", "applies"]

LEAST_NOISE = 1e-3


class Counted:
    """A prior as a denoiser of pictures in [0, 1], counting how many it was given."""

    def __init__(self, prior: Prior, shape: tuple[int, ...]) -> None:
        self.prior, self.evaluations = prior, 0
        self.denoiser: Denoiser = prior.sized(shape)
        assert isinstance(prior.codec.scale, float)
        self.scale = prior.codec.scale

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x₀ | x₀ + σ n = x]; σ has one entry, or one per item that are equal."""
        self.evaluations += len(x)
        return self.prior.codec.decode(self.model(self.prior.codec.encode(x), sigma))

    def model(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The same with ``x`` in model units; σ remains that of pictures."""
        ratio = torch.as_tensor(sigma, dtype=torch.float64).flatten()[0] / self.scale
        level = self.prior.process.at_ratio(ratio.clamp(min=1e-6))
        return self.denoiser(level.alpha * x, level).mean


def wrapped(network: Counted) -> Any:
    import deepinv

    class Wrapped(deepinv.models.Denoiser):  # type: ignore[misc]
        def forward(self, x: Tensor, sigma: Any, *_: Any, **__: Any) -> Tensor:
            return network(x, sigma)

    return Wrapped()


def physics(operator: Linear, sigma: float) -> Any:
    """An operator as a deepinv physics whose proximal map is in closed form."""
    import deepinv

    class Closed(deepinv.physics.LinearPhysics):  # type: ignore[misc]
        def prox_l2(self, z: Tensor, y: Tensor, gamma: Any, **_: Any) -> Tensor:
            one, noise = torch.ones(()), 1 / torch.as_tensor(gamma).flatten()[0]
            rest = operator.restrict(y - operator(z))
            return z + operator.adjoint(operator.solve(rest, one, noise))

    return Closed(
        A=lambda x, **_: operator(x),
        A_adjoint=lambda y, **_: operator.adjoint(y),
        noise_model=deepinv.physics.GaussianNoise(sigma),
    )


def diffpir(
    case: Case, network: Counted, y: Tensor, steps: int, zeta: float = 0.1, weight: float = 7.0
) -> Tensor:
    import deepinv

    sigma = max(case.sigma, LEAST_NOISE)
    model = deepinv.sampling.DiffPIR(
        wrapped(network), deepinv.optim.data_fidelity.L2(), sigma=sigma, max_iter=steps,
        zeta=zeta, lambda_=weight, device=str(y.device),
    )  # fmt: skip
    found: Tensor = model(y, physics(case.operator, sigma))
    return found


def dpir(case: Case, network: Counted, y: Tensor) -> Tensor:
    import deepinv

    sigma = max(case.sigma, LEAST_NOISE)
    model = deepinv.optim.DPIR(sigma=sigma, denoiser=wrapped(network), device=str(y.device))
    start = None
    if case.known is not None:  # eight steps from black holes would end in grey ones
        start = biharmonic(case.y[0], mask=case.known)[None].to(y)
    found: Tensor = model(y, physics(case.operator, sigma), init=start)
    return found


def ddrm(case: Case, network: Counted, y: Tensor, steps: int) -> Tensor:
    import deepinv

    spectrum = case.operator.spectrum
    assert spectrum is not None
    mask = spectrum.singular.to(y).expand(1, *y.shape[1:]).contiguous()
    decomposed = deepinv.physics.DecomposablePhysics(
        U=spectrum.embed, U_adjoint=lambda v: spectrum.project(v).clone(),
        V=spectrum.synthesise, V_adjoint=lambda v: spectrum.analyse(v).clone(),
        mask=mask, noise_model=deepinv.physics.GaussianNoise(case.sigma),
    )  # fmt: skip
    sigmas = torch.logspace(0, -2.5, steps).tolist()
    found: Tensor = deepinv.sampling.DDRM(wrapped(network), sigmas=sigmas)(y, decomposed)
    return found


def repaint(
    case: Case, network: Counted, y: Tensor, steps: int, jump: int, times: int, eta: float = 0.0
) -> Tensor:
    from diffusers import RePaintScheduler

    assert isinstance(case.operator, Mask)
    known = case.operator.mask.to(y).expand(y.shape)
    original = network.prior.codec.encode(y) * known
    scheduler = RePaintScheduler(eta=eta)
    scheduler.set_timesteps(steps, jump_length=jump, jump_n_sample=times)
    x, last = torch.randn_like(y), int(scheduler.timesteps[0]) + 1
    for t in scheduler.timesteps.tolist():
        if t < last:
            alpha = float(scheduler.alphas_cumprod[t]) ** 0.5
            sigma = (1 - alpha**2) ** 0.5
            network.evaluations += len(x)
            clean = network.model(x / alpha, network.scale * sigma / alpha)
            noise = (x - alpha * clean) / sigma
            x = scheduler.step(noise, t, x, original, known).prev_sample
        else:
            x = scheduler.undo_step(x, last)
        last = t
    return network.prior.codec.decode(x)


def once(case: Case, network: Counted, y: Tensor) -> Tensor:
    return network(y, case.sigma)


Peer = Callable[[Case, Counted, Tensor], Tensor]
PEERS: dict[str, tuple[str, str, Peer]] = {
    "once": ("(network)", "one evaluation", once),
    "deepinv-diffpir-20": ("deepinv", "DiffPIR, 20 steps", lambda c, m, y: diffpir(c, m, y, 20)),
    "deepinv-diffpir-20-1": (
        "deepinv", "DiffPIR, 20 steps, zeta 1", lambda c, m, y: diffpir(c, m, y, 20, 1.0)
    ),
    "deepinv-diffpir": ("deepinv", "DiffPIR, 100 steps", lambda c, m, y: diffpir(c, m, y, 100)),
    "deepinv-dpir": ("deepinv", "DPIR, 8 steps", dpir),
    "deepinv-ddrm": ("deepinv", "DDRM, 20 steps", lambda c, m, y: ddrm(c, m, y, 20)),
    "diffusers-repaint": (
        "diffusers", "RePaint, 20 steps, jumps 5 × 2", lambda c, m, y: repaint(c, m, y, 20, 5, 2)
    ),
    "diffusers-repaint-90": (
        "diffusers", "RePaint, 50 steps, jumps 10 × 2", lambda c, m, y: repaint(c, m, y, 50, 10, 2)
    ),
    "diffusers-repaint-90-1": (
        "diffusers", "RePaint, 50 steps, jumps 10 × 2, eta 1",
        lambda c, m, y: repaint(c, m, y, 50, 10, 2, 1.0),
    ),
}  # fmt: skip
"""Name → library, solver with settings, and how to run it."""
DETERMINISTIC = ("once", "deepinv-dpir")
"""Methods whose samples would all be the same: one is made."""


def applies(name: str, case: Case) -> bool:
    """Whether a method can do a task."""
    if case.task.kind == "dejpeg":  # none of them takes intervals
        return False
    if name == "once":
        return case.task.kind == "denoise"
    if name.startswith("diffusers"):
        return case.task.kind == "inpaint"
    if name == "deepinv-ddrm":  # needs as many coefficients as pixels
        return case.task.kind != "super-resolve"
    return True
