"""Samplers: rules for running a denoiser backwards. One file each, one line in ``presets``."""

import functools
from collections.abc import Callable

from sfumato.samplers.adaptive import Adaptive
from sfumato.samplers.base import Denoise, Sampler, Step, kernel, run
from sfumato.samplers.churn import Churn
from sfumato.samplers.cold import Cold
from sfumato.samplers.ddim import DDIM, DDPM
from sfumato.samplers.dpm_solver import DPMSolver
from sfumato.samplers.euler import Euler
from sfumato.samplers.exponential import Exponential
from sfumato.samplers.geodesic import Geodesic
from sfumato.samplers.gibbs import Gibbs
from sfumato.samplers.heun import Heun
from sfumato.samplers.momentum import Momentum
from sfumato.samplers.pndm import PNDM
from sfumato.samplers.predictor_corrector import PredictorCorrector
from sfumato.samplers.presets import PRESETS, Preset, make, presets
from sfumato.samplers.relevelled import Relevelled
from sfumato.samplers.restart import Restart
from sfumato.samplers.reverse_diffusion import ReverseDiffusion
from sfumato.samplers.sde import EulerMaruyama
from sfumato.samplers.singlestep import SingleStep
from sfumato.samplers.starts import Estimated, Generated, Noise, Start
from sfumato.samplers.translation import encode, translate

__all__ = [
    "DDIM",
    "DDPM",
    "PNDM",
    "PRESETS",
    "SAMPLERS",
    "Adaptive",
    "Churn",
    "Cold",
    "DPMSolver",
    "Denoise",
    "Estimated",
    "Euler",
    "EulerMaruyama",
    "Exponential",
    "Generated",
    "Geodesic",
    "Gibbs",
    "Heun",
    "Momentum",
    "Noise",
    "PredictorCorrector",
    "Preset",
    "Relevelled",
    "Restart",
    "ReverseDiffusion",
    "Sampler",
    "SingleStep",
    "Start",
    "Step",
    "encode",
    "kernel",
    "make",
    "presets",
    "run",
    "translate",
]

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    name: functools.partial(make, name) for name, preset in PRESETS.items() if preset.selectable
}
"""Name → what makes the sampler, given options."""
