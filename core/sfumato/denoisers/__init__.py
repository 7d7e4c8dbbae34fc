"""Estimates of clean data from noisy states."""

from sfumato.denoisers.adapters import Padded, Tiled
from sfumato.denoisers.analytic import (
    AnalyticVariance,
    mean_square_errors,
    mean_square_noise,
)
from sfumato.denoisers.base import Condition, Denoiser, Estimate, Rescaled, tweedie
from sfumato.denoisers.between import Between
from sfumato.denoisers.categorical import (
    Beliefs,
    Informed,
    TokenDenoiser,
    valid_places,
    visible,
)
from sfumato.denoisers.chain import ChainPrior
from sfumato.denoisers.classifier import ClassifierGuided
from sfumato.denoisers.empirical import DataSetPrior
from sfumato.denoisers.equal_channels import EqualChannels
from sfumato.denoisers.exact import Exact, GaussianPrior, MixturePrior
from sfumato.denoisers.experts import MixtureOfExperts, ProductOfExperts
from sfumato.denoisers.guided import ClassifierFree
from sfumato.denoisers.heads import SquareHead, square_loss
from sfumato.denoisers.manifolds import PointsOnManifold, Tangent
from sfumato.denoisers.markov import MarkovChain
from sfumato.denoisers.parametrisations import (
    PARAMETRISATIONS,
    Coefficients,
    Network,
    Preconditioned,
    coefficients,
)
from sfumato.denoisers.spectral import InBasis
from sfumato.denoisers.spread import WithVariance
from sfumato.denoisers.tables import JointTable
from sfumato.denoisers.token_networks import TokenNetwork

__all__ = [
    "PARAMETRISATIONS",
    "AnalyticVariance",
    "Beliefs",
    "Between",
    "ChainPrior",
    "ClassifierFree",
    "ClassifierGuided",
    "Coefficients",
    "Condition",
    "DataSetPrior",
    "Denoiser",
    "EqualChannels",
    "Estimate",
    "Exact",
    "GaussianPrior",
    "InBasis",
    "Informed",
    "JointTable",
    "MarkovChain",
    "MixtureOfExperts",
    "MixturePrior",
    "Network",
    "Padded",
    "PointsOnManifold",
    "Preconditioned",
    "ProductOfExperts",
    "Rescaled",
    "SquareHead",
    "Tangent",
    "Tiled",
    "TokenDenoiser",
    "TokenNetwork",
    "WithVariance",
    "coefficients",
    "mean_square_errors",
    "mean_square_noise",
    "square_loss",
    "tweedie",
    "valid_places",
    "visible",
]
