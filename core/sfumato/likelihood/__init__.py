"""Bounds on the likelihood, each with its standard error."""

from sfumato.likelihood.absorbing import k_uniform, masked_bound
from sfumato.likelihood.decoders import Belief, Values
from sfumato.likelihood.dequantisation import dequantise, dequantised
from sfumato.likelihood.flow import flow_nats
from sfumato.likelihood.gaussian import gaussian_bound, step_nats
from sfumato.likelihood.jumps import score_bound, uniform_bound, variational_bound
from sfumato.likelihood.orders import chain_rule, importance_bound, pseudo_likelihood
from sfumato.likelihood.rates import Bits, bits_per_character, bits_per_dim
from sfumato.likelihood.trials import Bound, Budget

__all__ = [
    "Belief",
    "Bits",
    "Bound",
    "Budget",
    "Values",
    "bits_per_character",
    "bits_per_dim",
    "chain_rule",
    "dequantise",
    "dequantised",
    "flow_nats",
    "gaussian_bound",
    "importance_bound",
    "k_uniform",
    "masked_bound",
    "pseudo_likelihood",
    "score_bound",
    "step_nats",
    "uniform_bound",
    "variational_bound",
]
