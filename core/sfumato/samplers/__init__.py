"""Samplers: rules for running a denoiser backwards. One file each, one line in ``presets``."""

import functools
from collections.abc import Callable

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
from sfumato.samplers.presets import PRESETS, Preset, make, presets
from sfumato.samplers.restart import Restart
from sfumato.samplers.sde import EulerMaruyama
from sfumato.samplers.singlestep import SingleStep
from sfumato.samplers.starts import Estimated, Generated, Noise, Start

__all__ = [
    "DDIM",
    "DDPM",
    "PNDM",
    "PRESETS",
    "SAMPLERS",
    "Adaptive",
    "Churn",
    "DPMSolver",
    "Denoise",
    "Estimated",
    "Euler",
    "EulerMaruyama",
    "Exponential",
    "Generated",
    "Gibbs",
    "Heun",
    "Noise",
    "PredictorCorrector",
    "Preset",
    "Restart",
    "Sampler",
    "SingleStep",
    "Start",
    "Step",
    "kernel",
    "make",
    "presets",
    "run",
]

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    name: functools.partial(make, name) for name, preset in PRESETS.items() if preset.selectable
}
"""Name → what makes the sampler, given options."""
