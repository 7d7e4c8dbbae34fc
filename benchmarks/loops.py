"""Sampling loops of sfumato, diffusers, azula and deepinv around a network that does nothing.

The network is the identity and costs nothing; the time that is spent inside it is clocked and taken
off. What is left, per call, is what a library adds: its loop, its noise, its preconditioning and,
for posteriors, its algebra. Settings are the libraries' own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.denoisers import Denoiser, Preconditioned
from sfumato.inverse.likelihoods import Gaussian as GaussianNoise
from sfumato.inverse.problems import Problem
from sfumato.inverse.registry import make
from sfumato.inverse.standard import Mask
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, log_snr
from sfumato.samplers import DDIM, DDPM, DPMSolver, Gibbs, Heun, Sampler, run

__all__ = ["Clocked", "Null", "clocked", "drawing", "our_loops", "peer_loops", "prior_loop"]

SIGMA = 0.05
Loop = Callable[[], Any]


class Clocked(nn.Module):
    """A network that counts its calls, backward passes and the processor time of the calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.reset()

    def reset(self) -> None:
        self.calls, self.backward, self.seconds = 0, 0, 0.0

    def forward(self, *arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        output = self.inner(*arguments, **named)
        self.seconds += time.process_time() - began
        self.calls += 1
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(self.passed)
        return output

    def passed(self, _: Tensor) -> None:
        self.backward += 1


class Null(nn.Module):
    """The identity, and zeros for a second head."""

    def __init__(self, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.unused = nn.Parameter(torch.zeros(()))  # tells a network's dtype

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x if self.heads == 1 else torch.cat([x, torch.zeros_like(x)], dim=1)


def clocked(loop: Loop, network: Clocked, repeats: int) -> tuple[float, float, int]:
    """Seconds per call outside and inside the network, from the best of some runs, and calls."""
    best = (float("inf"), 0.0, 0)
    for _ in range(repeats):
        network.reset()
        began = time.process_time()
        loop()
        total = time.process_time() - began
        outside = (total - network.seconds) / network.calls
        best = min(best, (outside, network.seconds / network.calls, network.calls))
    return best


@contextlib.contextmanager
def drawing() -> Iterator[Callable[[], float]]:
    """Processor time that is spent on drawing normal numbers meanwhile, in seconds."""
    seconds, draw = [0.0], Streams.normal

    def timed(streams: Streams, like: Tensor) -> Tensor:
        began = time.process_time()
        drawn = draw(streams, like)
        seconds[0] += time.process_time() - began
        return drawn

    Streams.normal = timed  # type: ignore[method-assign]
    try:
        yield lambda: seconds[0]
    finally:
        Streams.normal = draw  # type: ignore[method-assign]


def our_loops(
    denoiser: Callable[[bool], Denoiser], shape: tuple[int, ...], steps: int
) -> Iterator[tuple[str, Loop]]:
    """Samplers and solvers of sfumato.

    Args:
        denoiser: (whether it must report its variance) ↦ a denoiser.
        shape: Shape of the state.
        steps: Steps of the grid.
    """
    samplers: dict[str, tuple[Sampler, bool]] = {
        "DDIM": (DDIM(), False),
        "DDPM": (DDPM(), False),
        "DDPM (calibrated)": (DDPM("calibrated"), True),
        "Heun": (Heun(), False),
        "DPM-Solver++ 2M": (DPMSolver(), False),
        "Gibbs (4 rounds)": (Gibbs(), True),
    }
    for name, (sampler, spread) in samplers.items():
        yield name, prior_loop(sampler, denoiser(spread), shape, steps)
    for name, solver in (("Proximal", "proximal"), ("MMPS", "mmps")):
        yield f"inpainting, {name}", posterior_loop(solver, denoiser(True), shape, steps)


def prior_loop(sampler: Sampler, denoiser: Denoiser, shape: tuple[int, ...], steps: int) -> Loop:
    def loop() -> Tensor:
        process, streams = denoiser.process, Streams.count(0, shape[0])
        grid = log_snr(process, steps)
        x = process.start(torch.zeros(shape), process.level(grid[0]), streams)
        return run(sampler, denoiser, x, grid, streams)

    return loop


def posterior_loop(solver: str, denoiser: Denoiser, shape: tuple[int, ...], steps: int) -> Loop:
    def loop() -> Tensor:
        kept = half(shape)
        operator = Mask(kept, likelihood=GaussianNoise(SIGMA))
        problem = Problem(denoiser, operator, torch.zeros(shape))
        return make(solver, steps=steps)(problem, Streams.count(0, shape[0]))

    return loop


def null_denoiser(network: Clocked) -> Denoiser:
    head = "variance" if network.inner.heads == 2 else ""
    return Preconditioned(network, Gaussian(VP()), prediction="eps", head=head)


def half(shape: tuple[int, ...]) -> Tensor:
    """A mask that keeps every other pixel of each row."""
    kept = torch.zeros(1, *shape[2:])
    kept[..., ::2] = 1
    return kept


def peer_loops(shape: tuple[int, ...], steps: int) -> Iterator[tuple[str, str, Loop, Clocked]]:
    """Library, method, loop and network, for the libraries that are installed."""
    tables = {"diffusers": diffusers_loops, "azula": azula_loops, "deepinv": deepinv_loops}
    for library, table in tables.items():
        if importlib.util.find_spec(library) is None:
            print(f"{library} is not installed: left out")
            continue
        for method, build in table(shape, steps).items():
            network = Clocked(Null())
            yield library, method, quiet(build(network)), network


def quiet(loop: Loop) -> Loop:
    def silenced() -> Any:
        with warnings.catch_warnings(), contextlib.redirect_stderr(None), torch.no_grad():
            warnings.simplefilter("ignore")
            return loop()

    return silenced


Table = dict[str, Callable[[Clocked], Loop]]


def diffusers_loops(shape: tuple[int, ...], steps: int) -> Table:
    """Schedulers in the loop of the library's own pipelines."""
    from diffusers import (
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        HeunDiscreteScheduler,
    )

    def build(kind: Any) -> Callable[[Clocked], Loop]:
        def bound(network: Clocked) -> Loop:
            def loop() -> Tensor:
                scheduler = kind()
                scheduler.set_timesteps(steps)
                x: Tensor = torch.randn(shape) * scheduler.init_noise_sigma
                for t in scheduler.timesteps:
                    output = network(scheduler.scale_model_input(x, t), t)
                    x = scheduler.step(output, t, x).prev_sample
                return x

            return loop

        return bound

    return {
        "DDIM": build(DDIMScheduler),
        "DDPM": build(DDPMScheduler),
        "Heun": build(HeunDiscreteScheduler),
        "DPM-Solver++ 2M": build(DPMSolverMultistepScheduler),
    }


def azula_loops(shape: tuple[int, ...], steps: int) -> Table:
    from azula.denoise import KarrasDenoiser
    from azula.guidance.diffpir import DiffPIRDenoiser
    from azula.guidance.mmps import MMPSDenoiser
    from azula.linalg.covariance import IsotropicCovariance
    from azula.noise import VPSchedule
    from azula.sample import DDIMSampler, DDPMSampler, HeunSampler

    kept = half(shape)
    y, noise = torch.zeros(shape), IsotropicCovariance(torch.tensor(SIGMA**2))

    def masked(x: Tensor) -> Tensor:
        return kept * x

    def build(kind: Any, guided: Callable[[Any], Any] = lambda denoiser: denoiser) -> Any:
        def bound(network: Clocked) -> Loop:
            def loop() -> Tensor:
                denoiser = guided(KarrasDenoiser(network, VPSchedule()))
                sampler = kind(denoiser, steps=steps, silent=True)
                result: Tensor = sampler(sampler.init(shape))
                return result

            return loop

        return bound

    return {
        "DDIM": build(DDIMSampler),
        "DDPM": build(DDPMSampler),
        "Heun": build(HeunSampler),
        "inpainting, MMPS": build(DDPMSampler, lambda d: MMPSDenoiser(d, y, masked, noise)),
        "inpainting, DiffPIR": build(
            DDPMSampler, lambda d: DiffPIRDenoiser(d, y, masked, SIGMA**2)
        ),
    }


def deepinv_loops(shape: tuple[int, ...], steps: int) -> Table:
    import deepinv
    from deepinv.sampling import (
        DDRM,
        DiffPIR,
        EulerSolver,
        HeunSolver,
        MomentMatchingDataFidelity,
        PosteriorDiffusion,
        VariancePreservingDiffusion,
    )

    physics = deepinv.physics.Inpainting(
        img_size=shape[1:],
        mask=half(shape).expand(shape[1:]).clone(),
        noise_model=deepinv.physics.GaussianNoise(SIGMA),
    )
    y = torch.zeros(shape)

    class Wrapped(deepinv.models.Denoiser):
        def __init__(self, network: Clocked) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, sigma: Any, *_: Any, **__: Any) -> Tensor:
            output: Tensor = self.network(x, sigma)
            return output

    def diffusion(solver: Any, fidelity: Callable[[], Any]) -> Callable[[Clocked], Loop]:
        def bound(network: Clocked) -> Loop:
            model = PosteriorDiffusion(
                data_fidelity=fidelity(), denoiser=Wrapped(network),
                sde=VariancePreservingDiffusion(),
                solver=solver(timesteps=torch.linspace(1, 0.001, steps + 1)),
            )  # fmt: skip
            return lambda: model(y, physics, x_init=shape)

        return bound

    def ddrm(network: Clocked) -> Loop:
        sigmas = torch.logspace(1, -2, steps).tolist()
        return lambda: DDRM(Wrapped(network), sigmas=sigmas)(y, physics)

    def diffpir(network: Clocked) -> Loop:
        fidelity = deepinv.optim.data_fidelity.L2()
        return lambda: DiffPIR(Wrapped(network), fidelity, sigma=SIGMA, max_iter=steps)(y, physics)

    zero = deepinv.optim.data_fidelity.ZeroFidelity
    return {
        "Euler": diffusion(EulerSolver, zero),
        "Heun": diffusion(HeunSolver, zero),
        "inpainting, MomentMatching": diffusion(EulerSolver, MomentMatchingDataFidelity),
        "inpainting, DDRM": ddrm,
        "inpainting, DiffPIR": diffpir,
    }
