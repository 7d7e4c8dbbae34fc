"""Samplers: rules for running a denoiser backwards. One file each, one line here."""

from sfumato.samplers.adaptive import Adaptive
from sfumato.samplers.base import Denoise, Sampler, Step, kernel, run
from sfumato.samplers.churn import Churn
from sfumato.samplers.ddim import DDIM, DDPM
from sfumato.samplers.dpm_solver import DPMSolver
from sfumato.samplers.euler import Euler
from sfumato.samplers.exponential import Exponential
from sfumato.samplers.gibbs import Gibbs
from sfumato.samplers.heun import Heun
from sfumato.samplers.pndm import PNDM
from sfumato.samplers.predictor_corrector import PredictorCorrector
from sfumato.samplers.restart import Restart
from sfumato.samplers.sde import EulerMaruyama
from sfumato.samplers.singlestep import SingleStep

__all__ = [
    "DDIM",
    "DDPM",
    "PNDM",
    "SAMPLERS",
    "Adaptive",
    "Churn",
    "DPMSolver",
    "Denoise",
    "Euler",
    "EulerMaruyama",
    "Exponential",
    "Gibbs",
    "Heun",
    "PredictorCorrector",
    "Restart",
    "Sampler",
    "SingleStep",
    "Step",
    "kernel",
    "run",
]

SAMPLERS: dict[str, type[Sampler]] = {
    "adaptive": Adaptive,
    "ddim": DDIM,
    "ddpm": DDPM,
    "dpm-solver": DPMSolver,
    "euler": Euler,
    "euler-maruyama": EulerMaruyama,
    "exponential": Exponential,
    "gibbs": Gibbs,
    "heun": Heun,
    "pndm": PNDM,
    "predictor-corrector": PredictorCorrector,
    "restart": Restart,
    "single-step": SingleStep,
}
