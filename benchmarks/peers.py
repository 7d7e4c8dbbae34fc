"""Posterior samplers of azula and deepinv, run on the problems of ``sfumato.evaluation.truth``.

Each function takes a problem, the counting denoiser, the number of samples and of steps, and
returns samples ``[n, d]``. The exact denoiser is handed over with no change of units: azula asks
for it at its own α and σ, deepinv at σ/α. Settings are the libraries' own unless the name says
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sfumato.denoisers import Denoiser
from sfumato.evaluation.known import Known
from sfumato.evaluation.truth import LinearGaussian
from sfumato.processes import Gaussian, Level

__all__ = ["Run", "azula_runs", "deepinv_runs"]

Run = Callable[[Known, Denoiser, int, int], Tensor]


def azula_runs(known: Known) -> dict[str, Run]:
    """Name with settings → run, for the methods of azula that apply."""
    from azula.denoise import Denoiser as Base
    from azula.denoise import DiracPosterior
    from azula.guidance import dps, pgdm, repaint, tds
    from azula.guidance.diffpir import DiffPIRDenoiser
    from azula.guidance.jfps import JFPSDenoiser
    from azula.guidance.mmps import MMPSDenoiser
    from azula.guidance.tmpd import TMPDenoiser
    from azula.linalg.covariance import FullCovariance, IsotropicCovariance
    from azula.noise import VPSchedule
    from azula.sample import DDPMSampler

    matrix, y = (part.float() for part in known.matrix)
    variance, d = known.sigma**2, matrix.shape[1]
    noise = IsotropicCovariance(torch.tensor(variance))
    inverse = torch.linalg.pinv(matrix)

    class Exact(Base):
        def __init__(self, inner: Denoiser) -> None:
            super().__init__()
            self.inner, self.schedule = inner, VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> DiracPosterior:
            alpha, sigma = self.schedule(t.double())
            return DiracPosterior(self.inner(x_t, Level(t.double(), alpha, sigma)).mean)

    def forward(x: Tensor) -> Tensor:
        return x @ matrix.T

    def guided(build: Callable[[Any, Tensor], Any]) -> Run:
        def run(_: Known, inner: Denoiser, n: int, steps: int) -> Tensor:
            sampler = DDPMSampler(build(Exact(inner), y.expand(n, -1)), steps=steps, silent=True)
            return sampler(sampler.init((n, d)))

        return run

    def sampled(build: Callable[..., Any]) -> Run:
        def run(_: Known, inner: Denoiser, n: int, steps: int) -> Tensor:
            sampler = build(Exact(inner), y.expand(n, -1), steps=steps, silent=True)
            return sampler(sampler.init((n, d)))

        return run

    def twist(x_hat: Tensor, ratio: Tensor) -> Tensor:
        residual = (y - x_hat @ matrix.T).square().sum(dim=1)
        return -residual / (2 * (variance + ratio**2 / (1 + ratio**2)))

    def alone(_: Known, inner: Denoiser, n: int, steps: int) -> Tensor:
        # the guidance is divided by the norm of the whole batch, so each sample has to run alone
        rows = []
        for _ in range(n):
            sampler = dps.DPSSampler(Exact(inner), y[None], forward, steps=steps, silent=True)
            rows.append(sampler(sampler.init((1, d))))
        return torch.cat(rows)

    runs = {
        "MMPS (gmres 1, default)": guided(lambda e, v: MMPSDenoiser(e, v, forward, noise)),
        "MMPS (cg 3)": guided(
            lambda e, v: MMPSDenoiser(e, v, forward, noise, solver="cg", iterations=3)
        ),
        "TMPD": guided(lambda e, v: TMPDenoiser(e, v, forward, variance)),
        "DiffPIR (default)": guided(lambda e, v: DiffPIRDenoiser(e, v, forward, variance)),
        "DiffPIR (lambda 1, cg 8)": guided(
            lambda e, v: DiffPIRDenoiser(e, v, forward, variance, 1.0, "cg", 8)
        ),
        "DPS (batched)": sampled(lambda e, v, **o: dps.DPSSampler(e, v, forward, **o)),
        "DPS (one by one)": alone,
        "PGDM": sampled(
            lambda e, v, **o: pgdm.PGDMSampler(e, v, forward, lambda u: u @ inverse.T, **o)
        ),
        "TDS": sampled(lambda e, _, **o: tds.TDSSampler(e, twist, **o)),
    }
    if isinstance(known, LinearGaussian):
        powers, basis = torch.linalg.eigh(known.prior(Gaussian()).covariance)
        full = FullCovariance(basis.float(), powers.float())
        runs["JFPS (true covariance, cg 8)"] = guided(
            lambda e, v: JFPSDenoiser(e, v, forward, noise, full, iterations=8)
        )
    support = known.operator.support
    if support is not None:
        filled = known.y.float()
        runs["RePaint"] = sampled(
            lambda e, v, **o: repaint.RePaintSampler(
                e, filled.expand(len(v), -1), support.bool(), **o
            )
        )
    return runs


def deepinv_runs(known: Known) -> dict[str, Run]:
    """Name with settings → run, for the methods of deepinv that apply (masks only)."""
    import deepinv
    from deepinv.sampling import (
        DDRM,
        AncestralSolver,
        DiffPIR,
        DPSDataFidelity,
        MomentMatchingDataFidelity,
        PiGDMDataFidelity,
        PosteriorDiffusion,
        VariancePreservingDiffusion,
    )

    support = known.operator.support
    if support is None:
        return {}
    d = len(known.truth)
    physics = deepinv.physics.Inpainting(
        img_size=(1, 1, d),
        mask=support.float().reshape(1, 1, d),
        noise_model=deepinv.physics.GaussianNoise(known.sigma),
    )

    class Exact(deepinv.models.Denoiser):
        def __init__(self, inner: Denoiser) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor, sigma: Any, *_: Any, **__: Any) -> Tensor:
            level = torch.as_tensor(sigma, dtype=torch.float64).flatten()
            level = level.expand(len(x)) if level.numel() == 1 else level
            t = Level(level, torch.ones_like(level), level)
            return self.inner(x.reshape(len(x), d), t).mean.reshape(x.shape)

    def measured(n: int) -> Tensor:
        return known.y.float().reshape(1, 1, 1, d).expand(n, 1, 1, d).clone()

    def diffusion(fidelity: Callable[[], Any]) -> Run:
        def run(_: Known, inner: Denoiser, n: int, steps: int) -> Tensor:
            solver = AncestralSolver(timesteps=torch.linspace(1, 0, steps + 1).double())
            model = PosteriorDiffusion(
                data_fidelity=fidelity(), denoiser=Exact(inner), minus_one_one=False,
                sde=VariancePreservingDiffusion(alpha=1.0), solver=solver,
            )  # fmt: skip
            return model(measured(n), physics, x_init=(n, 1, 1, d)).reshape(n, d)

        return run

    def ddrm(_: Known, inner: Denoiser, n: int, steps: int) -> Tensor:
        sigmas = torch.logspace(1, -2.5, steps).tolist()
        return DDRM(Exact(inner), sigmas=sigmas)(measured(n), physics).reshape(n, d)

    def diffpir(_: Known, inner: Denoiser, n: int, steps: int) -> Tensor:
        fidelity = deepinv.optim.data_fidelity.L2()
        model = DiffPIR(Exact(inner), fidelity, sigma=known.sigma, max_iter=steps)
        return model(measured(n), physics).reshape(n, d)

    return {
        "MomentMatching (cg 3, default)": diffusion(MomentMatchingDataFidelity),
        "PiGDM": diffusion(PiGDMDataFidelity),
        "DPS (default)": diffusion(DPSDataFidelity),
        "DPS (annealed)": diffusion(lambda: DPSDataFidelity(guidance="annealed")),
        "DDRM": ddrm,
        "DiffPIR (default)": diffpir,
    }
