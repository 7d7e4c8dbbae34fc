"""Samplers: rules for running a denoiser backwards. One file each, one line here."""

from sfumato.samplers.base import Denoise, Sampler, Step, kernel, run
from sfumato.samplers.churn import Churn
from sfumato.samplers.cold import Cold
from sfumato.samplers.ddim import DDIM, DDPM
from sfumato.samplers.dpm_solver import DPMSolver
from sfumato.samplers.euler import Euler
from sfumato.samplers.geodesic import Geodesic
from sfumato.samplers.gibbs import Gibbs
from sfumato.samplers.heun import Heun
from sfumato.samplers.predictor_corrector import PredictorCorrector
from sfumato.samplers.relevelled import Relevelled
from sfumato.samplers.reverse_diffusion import ReverseDiffusion
from sfumato.samplers.sde import EulerMaruyama
from sfumato.samplers.translation import encode, translate

__all__ = [
    "DDIM",
    "DDPM",
    "SAMPLERS",
    "Churn",
    "Cold",
    "DPMSolver",
    "Denoise",
    "Euler",
    "EulerMaruyama",
    "Geodesic",
    "Gibbs",
    "Heun",
    "PredictorCorrector",
    "Relevelled",
    "ReverseDiffusion",
    "Sampler",
    "Step",
    "encode",
    "kernel",
    "run",
    "translate",
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
    "reverse-diffusion": ReverseDiffusion,
}
