"""How a noiseless measurement z = A x becomes what was recorded: p(y | z).

All speak the units of y. ``variance`` is what moment-matching solvers use; ``None`` says that the
noise is not Gaussian and they cannot. ``residual`` is (y − z) in standard deviations: its mean
square, χ², is 1 for a reconstruction that is as far from the measurement as the noise is.
``normal`` is the Gaussian nearest to p(y | z) as a function of z: what steps that adapt to the
curvature of the likelihood start from. ``moments`` are those of z given y where z was believed to
be normal: what moment matching needs where the noise is not Gaussian.
"""

from sfumato.inverse.likelihoods.additive import Gaussian, Laplace
from sfumato.inverse.likelihoods.base import Affine, Likelihood
from sfumato.inverse.likelihoods.counts import Poisson
from sfumato.inverse.likelihoods.rounding import Quantised

__all__ = ["Affine", "Gaussian", "Laplace", "Likelihood", "Poisson", "Quantised"]
