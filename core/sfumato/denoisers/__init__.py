"""Estimates of clean data from noisy states."""

from sfumato.denoisers.adapters import Padded, Tiled
from sfumato.denoisers.base import Condition, Denoiser, Estimate, Rescaled, tweedie
from sfumato.denoisers.chain import ChainPrior
from sfumato.denoisers.empirical import DataSetPrior
from sfumato.denoisers.equal_channels import EqualChannels
from sfumato.denoisers.exact import Exact, GaussianPrior, MixturePrior
from sfumato.denoisers.guided import ClassifierFree
from sfumato.denoisers.parametrisations import (
    PARAMETRISATIONS,
    Coefficients,
    Network,
    Preconditioned,
    coefficients,
)
from sfumato.denoisers.spread import WithVariance

__all__ = [
    "PARAMETRISATIONS",
    "ChainPrior",
    "ClassifierFree",
    "Coefficients",
    "Condition",
    "DataSetPrior",
    "Denoiser",
    "EqualChannels",
    "Estimate",
    "Exact",
    "GaussianPrior",
    "MixturePrior",
    "Network",
    "Padded",
    "Preconditioned",
    "Rescaled",
    "Tiled",
    "WithVariance",
    "coefficients",
    "tweedie",
]
