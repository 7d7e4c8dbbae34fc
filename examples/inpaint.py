"""Fill a hole, with a mask file as a person would paint it, and look at what is uncertain.

python examples/inpaint.py
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE = 48 if SMOKE else 128
OUT = Path("out/inpaint")
OUT.mkdir(parents=True, exist_ok=True)

photo = data.coffee()[100 : 100 + SIDE, 200 : 200 + SIDE]
mask = np.zeros((SIDE, SIDE), np.uint8)
mask[SIDE // 2 - 6 : SIDE // 2 + 6, SIDE // 2 - 6 : SIDE // 2 + 6] = 255  # white is to be filled
Image.fromarray(photo).save(OUT / "photo.png")
Image.fromarray(mask).save(OUT / "mask.png")

image = sf.load_plugin("image")
picture = image.read(OUT / "photo.png")
task = image.operator("inpaint", mask=OUT / "mask.png", noise=0)
result = sf.reconstruct(
    image.prior(), task, picture, n=2 if SMOKE else 6, steps=4 if SMOKE else None
)

hole = torch.from_numpy(mask) > 0
for sample in result.samples:  # what was not damaged comes back bit by bit
    assert torch.equal(sample[:, ~hole], picture.data[:, ~hole])
psnr = image.part("metrics", "psnr")
print(result)
print(f"standard deviation in the hole: {255 * result.std[:, hole].mean():.1f} of 255")
print(f"PSNR of the mean over the whole picture: {psnr(result.mean, picture.data):.1f} dB")
result.save(OUT / "result", overwrite=True, reference=picture)
