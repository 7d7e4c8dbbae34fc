"""Undo a blur whose kernel was measured, here the trace of a shaken hand.

python examples/deblur_own_kernel.py
"""

import math
import os
from pathlib import Path

import numpy as np
import torch
from skimage import data

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE = 48 if SMOKE else 128
OUT = Path("out/deblur")
OUT.mkdir(parents=True, exist_ok=True)

kernel = np.zeros((9, 9))
for step in range(200):  # an arc through the middle
    angle = math.pi * step / 200
    kernel[round(4 + 3 * math.cos(angle)), round(4 + 3 * math.sin(angle) - 1.5)] += 1
np.save(OUT / "kernel.npy", kernel / kernel.sum())

image = sf.load_plugin("image")
crop = data.coffee()[150 : 150 + SIDE, 180 : 180 + SIDE]
truth = sf.Signal(torch.from_numpy(crop).permute(2, 0, 1) / 255)
task = image.operator("deblur", kernel=OUT / "kernel.npy", noise=2)
blurred = sf.degrade(task, truth, seed=0)

prior = image.prior()
print(sf.explain(task.bind(blurred).operator, prior))
result = sf.reconstruct(prior, task, blurred, n=2 if SMOKE else 4, steps=4 if SMOKE else None)

psnr = image.part("metrics", "psnr")
print(result)
print(f"blurred         {psnr(blurred.data, truth.data):.2f} dB")
print(f"posterior mean  {psnr(result.mean, truth.data):.2f} dB")
result.save(OUT / "result", overwrite=True, reference=truth)
