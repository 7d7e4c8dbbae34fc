"""Bits per dimension of photographs' patches, four ways that agree.

python examples/bits_per_dim.py

The prior is a Gaussian that was fitted to patches of one half of a photograph, so that its density
is known. The flow and the bounds see its denoiser only, as they would a network.
"""

import math
import os

import torch
from skimage import data

from sfumato.denoisers import GaussianPrior
from sfumato.likelihood import (
    Bits,
    Bound,
    Budget,
    bits_per_dim,
    dequantise,
    flow_nats,
    gaussian_bound,
)
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian, log_snr

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE, ITEMS = 4, 8 if SMOKE else 64
WIDTH = 2 / 256  # one of 256 grey levels, for pictures in [−1, 1]

photo = torch.from_numpy(data.camera()).double() * WIDTH - 1
patches = photo.unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE).reshape(2, -1, SIDE * SIDE)
train, held_out = patches[0], patches[1]

process = Gaussian(EDM(sigma_min=0.001, sigma_max=80.0))
prior = GaussianPrior(process, train.mean(dim=0), torch.cov(train.T))

streams = Streams.count(0, ITEMS)
chosen = held_out[:: len(held_out) // ITEMS][:ITEMS]
x = dequantise(chosen, WIDTH, streams.spawn("dequantisation"))
steps, budget = 10 if SMOKE else 50, Budget(draws=64 if SMOKE else 512, batch=4096)


def show(name: str, bits: Bits) -> None:
    print(f"{name:<44} {bits.value:6.3f} ± {bits.error:.3f}")


def measure(bound: Bound) -> Bits:
    return bits_per_dim(bound, SIDE * SIDE, width=WIDTH)


exact = -prior.log_prob(x, process.level(process.schedule.t_min))
show("the density itself", measure(Bound(exact, torch.zeros(ITEMS))))
show("probability flow, exact trace", measure(flow_nats(prior, x, streams, steps=steps)))
show("probability flow, 8 probes", measure(flow_nats(prior, x, streams, steps=steps, probes=8)))
show("bound, continuous time", measure(gaussian_bound(prior, x, streams, budget=budget)))
for variance in ("calibrated", "large", "small"):
    found = gaussian_bound(
        prior, x, streams, grid=log_snr(process, 50), variance=variance, budget=budget
    )
    show(f"bound, 50 steps, {variance} variance", measure(found))
print(f"{'all 256 grey levels alike':<44} {math.log2(256):6.3f}")
