"""Carries points of one data set to another: dual diffusion, and a straight flow.

python examples/translate_between_domains.py

The two sets are five blobs on a ring and two bars. Their denoisers are exact here, and would be two
trained priors (dual diffusion) or one network trained on ``Pairs`` of both (rectified flow).
"""

import math
import os
from pathlib import Path

import matplotlib as mpl
import torch

mpl.use("Agg")
from matplotlib import pyplot as plt

from sfumato.denoisers import Between, MixturePrior
from sfumato.evaluation.distances import sliced_w2
from sfumato.noise import Streams
from sfumato.processes import VP, Flow, Gaussian, log_snr
from sfumato.samplers import DDIM, Heun, run, translate

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
COUNT, STEPS = (200, 20) if SMOKE else (2000, 60)


def ring(process: Gaussian) -> MixturePrior:
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, 0.15**2))


def bars(process: Gaussian) -> MixturePrior:
    means = torch.tensor([[-0.8, 0.0], [0.8, 0.0]], dtype=torch.float64)
    shape = torch.tensor([0.01, 0.4], dtype=torch.float64).expand(2, 2)
    return MixturePrior(process, torch.ones(2), means, shape)


streams = Streams.count(0, COUNT)
noisy, flow = Gaussian(VP()), Gaussian(Flow())
x = ring(noisy).sample(streams)
truth = bars(noisy).sample(streams.spawn("truth"))
floor = sliced_w2(bars(noisy).sample(streams.spawn("again")), truth)
print(f"ring to bars, untouched:          SW2 {sliced_w2(x, truth):.3f} (two draws {floor:.3f})")

grid = log_snr(noisy, STEPS)
y = translate(Heun(), ring(noisy), bars(noisy), x, grid, streams)
back = translate(Heun(), bars(noisy), ring(noisy), y, grid, streams)
print(f"dual diffusion, {STEPS} Heun steps:    SW2 {sliced_w2(y, truth):.3f}", end=", ")
print(f"there and back off by {(back - x).square().mean().sqrt():.4f}")

denoiser = Between(flow, bars(flow), ring(flow))
times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
z = run(DDIM(), denoiser, x, times, streams)
print(f"rectified flow, {STEPS} Euler steps:   SW2 {sliced_w2(z, truth):.3f}")

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True)
colour = torch.atan2(x[:, 1], x[:, 0])
for axis, (title, points) in zip(
    axes, {"ring": x, "dual diffusion": y, "rectified flow": z}.items(), strict=True
):
    axis.scatter(points[:, 0], points[:, 1], c=colour, s=3, cmap="twilight")
    axis.set_title(title)
Path("out").mkdir(exist_ok=True)
figure.savefig("out/translation.png", dpi=120)
print("picture: out/translation.png")
