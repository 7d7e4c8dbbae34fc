"""How much of the data a measurement leaves open, judged by the operator alone.

Sampling may start from an estimate of x₀ at a noise in which all drowns that the estimate may have
got wrong. That is what y leaves open, and most of it lies at the longest wavelengths that y does
not show: natural signals have the spectrum

    S(λ) = v λ²/30.5,        v the variance of the data, λ in elements,

per component of white noise of unit variance (1/f² in two dimensions, its sum over wavelengths
from 2 to 256 being v). So for bands around λ = 4, 8, 16, … a white field is measured and estimated
back as if it had the variance S(λ) everywhere, and what is left of it is L(λ) S(λ), with L its
share of the energy:

    L = mean |w − S A* (S A A* + Σ)⁻¹ A w|² / mean |w|²,        w in the band.

For masks, which leave every band open in the same places, the wavelength is that of the widest
hole, twice the largest distance d of a missing element to a known one. Beyond d = 4 it counts for
more than it is, (d/4)² times, because estimates are bad in wide holes: what ``ADMM`` leaves flat in
holes of 32 pixels lies further from the truth than the prior's own guess.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.problems import Problem
from sfumato.inverse.standard import Selection

__all__ = ["open_deviation"]

SPECTRUM = 30.5
LONGEST = 128
"""In elements; from there on the start is at noise anyway."""


def open_deviation(problem: Problem) -> float:
    """Standard deviation of the component of x₀, out of those above, that is known least.

    For linear operators with Gaussian noise. Only operator and noise are looked at, so all items of
    a batch agree. Infinite where a state has no axes of 8 elements or more beside its channels.
    """
    space = problem.shape[2:]
    if not 1 <= len(space) <= 3 or min(space) < 8:
        return math.inf
    spread = data_spread(problem.denoiser)
    if isinstance(problem.linear, Selection):
        return missing_deviation(problem, problem.linear, spread)
    longest = int(math.log2(min(LONGEST, *space)))
    return max(band_deviation(problem, 2**power, spread) for power in range(2, longest + 1))


def band_deviation(problem: Problem, wavelength: int, spread: float) -> float:
    """√(L S) of one band."""
    operator, w = problem.linear, band(problem.blank()[:1], wavelength)
    power = deviation(wavelength, spread) ** 2
    variance = w.real.new_tensor(power)
    residual = operator.restrict(operator(w))
    weights = operator.solve(residual, variance, problem.noise, tolerance=1e-2, iterations=20)
    left = w - variance * operator.adjoint(weights)
    share = left.abs().square().mean() / w.abs().square().mean()
    return math.sqrt(power * min(share.item(), 1.0))


def band(blank: Tensor, wavelength: int) -> Tensor:
    """White noise of wavelengths within a factor of √2."""
    axes = tuple(range(2, blank.ndim))
    noise = torch.randn(blank.shape, generator=torch.Generator().manual_seed(wavelength))
    squares = torch.zeros(blank.shape[2:], dtype=torch.float64)
    for axis, size in enumerate(blank.shape[2:]):
        line = torch.fft.fftfreq(size, dtype=torch.float64).square()
        squares = squares + line.reshape(-1, *(1,) * (blank.ndim - 3 - axis))
    octave = squares * wavelength**2
    inside = (octave >= 0.5) & (octave < 2)
    field: Tensor = torch.fft.ifftn(torch.fft.fftn(noise, dim=axes) * inside, dim=axes).real
    return field.to(blank)


def missing_deviation(problem: Problem, operator: Selection, spread: float) -> float:
    """√(L S) of the widest hole of a mask, or of the noise of what it keeps."""
    shape = problem.shape[1:]
    kept = (operator.kept != 0).expand(shape)
    share = kept.double().mean().item()
    if share == 0:
        return math.inf
    noise = problem.noise.double().mean().item() / share
    far = hole(~kept)
    return max(deviation(2 * far * max(1.0, (far / 4) ** 2), spread), math.sqrt(noise))


def hole(missing: Tensor) -> int:
    """Largest distance of a missing element to a known one of its channel, along any axis."""
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[missing.ndim - 2]
    known = (~missing)[None].float()
    for distance in range(LONGEST // 2):
        if bool(known.all()):
            return distance
        known = pool(known, 3, 1, 1)
    return LONGEST // 2


def deviation(wavelength: float, spread: float) -> float:
    """√S(λ)."""
    return spread * wavelength / math.sqrt(SPECTRUM)
