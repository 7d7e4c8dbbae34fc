"""Samplers: rules for running a denoiser backwards. One file each, one line here."""

from sfumato.samplers.base import Denoise, Sampler, Step, kernel, run
from sfumato.samplers.churn import Churn
from sfumato.samplers.ddim import DDIM, DDPM
from sfumato.samplers.dpm_solver import DPMSolver
from sfumato.samplers.euler import Euler
from sfumato.samplers.gibbs import Gibbs
from sfumato.samplers.heun import Heun
from sfumato.samplers.predictor_corrector import PredictorCorrector
from sfumato.samplers.sde import EulerMaruyama

__all__ = [
    "DDIM",
    "DDPM",
    "SAMPLERS",
    "Churn",
    "DPMSolver",
    "Denoise",
    "Euler",
    "EulerMaruyama",
    "Gibbs",
    "Heun",
    "PredictorCorrector",
    "Sampler",
    "Step",
    "kernel",
    "run",
]

SAMPLERS: dict[str, type[Sampler]] = {
    "ddim": DDIM,
    "ddpm": DDPM,
    "dpm-solver": DPMSolver,
    "euler": Euler,
    "euler-maruyama": EulerMaruyama,
    "gibbs": Gibbs,
    "heun": Heun,
    "predictor-corrector": PredictorCorrector,
}
