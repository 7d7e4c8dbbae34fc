"""Enlarge four times, against bicubic interpolation, with a 90 % interval for every pixel.

python examples/super_resolve.py
"""

import os

import torch
from skimage import data
from torch.nn import functional

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE = 48 if SMOKE else 128

image = sf.load_plugin("image")
crop = data.chelsea()[60 : 60 + SIDE, 120 : 120 + SIDE]
truth = sf.Signal(torch.from_numpy(crop).permute(2, 0, 1) / 255)

task = image.operator("super-resolve", factor=4, noise=1)
small = sf.degrade(task, truth, seed=0)
result = sf.reconstruct(image.prior(), task, small, n=2 if SMOKE else 6, steps=4 if SMOKE else None)

psnr = image.part("metrics", "psnr")
bicubic = functional.interpolate(small.data[None], scale_factor=4, mode="bicubic")[0]
print(result)
print(f"bicubic         {psnr(bicubic, truth.data):.2f} dB")
print(f"posterior mean  {psnr(result.mean, truth.data):.2f} dB")
print(f"one sample      {psnr(result.samples[0], truth.data):.2f} dB")
low, high = result.interval(0.9)
inside = ((truth.data >= low) & (truth.data <= high)).float().mean()
print(f"the 90 % interval holds {100 * inside:.0f} % of the pixels")
result.save("out/super_resolve", overwrite=True, reference=truth)
