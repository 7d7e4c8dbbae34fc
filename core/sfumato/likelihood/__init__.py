"""Bounds on the likelihood, each with its standard error."""

from sfumato.likelihood.absorbing import k_uniform, masked_bound
from sfumato.likelihood.jumps import score_bound, uniform_bound, variational_bound
from sfumato.likelihood.orders import chain_rule, importance_bound, pseudo_likelihood
from sfumato.likelihood.rates import Bits, bits_per_character
from sfumato.likelihood.trials import Bound, Budget

__all__ = [
    "Bits",
    "Bound",
    "Budget",
    "bits_per_character",
    "chain_rule",
    "importance_bound",
    "k_uniform",
    "masked_bound",
    "pseudo_likelihood",
    "score_bound",
    "uniform_bound",
    "variational_bound",
]
