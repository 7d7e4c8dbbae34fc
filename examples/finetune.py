"""Fine-tune the photo prior on another kind of picture, here stained tissue, with LoRA.

python examples/finetune.py
"""

import os
from pathlib import Path

import torch
from PIL import Image
from skimage import data

import sfumato as sf
from sfumato.training import LoRA, TrainConfig

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
STEPS, SIDE, SIZE = (2, 48, 32) if SMOKE else (60, 96, 64)
FOLDER = Path("out/finetune/pictures")
FOLDER.mkdir(parents=True, exist_ok=True)

tissue = data.immunohistochemistry()
for row in range(0, 384, 128):  # the lower quarter is held out
    for column in range(0, 512, 128):
        tile = tissue[row : row + 128, column : column + 128]
        Image.fromarray(tile).save(FOLDER / f"{row}-{column}.png")
held_out = sf.Signal(
    torch.from_numpy(tissue[400 : 400 + SIDE, 200 : 200 + SIDE]).permute(2, 0, 1) / 255
)

image = sf.load_plugin("image")
prior = image.prior()
tuned = sf.finetune(
    prior,
    image.dataset(FOLDER, size=SIZE),
    out="out/finetune/prior",
    # a long run keeps the defaults; a short one must not average over its start
    config=TrainConfig(steps=STEPS, batch=4, lr=1e-3, warmup=5, ema=0.9, lora=LoRA(rank=8)),
    overwrite=True,
    tracker="",
)

task = image.operator("denoise", noise=50)
noisy = sf.degrade(task, held_out, seed=0)
psnr = image.part("metrics", "psnr")
for name, model in (("before", prior), ("after", tuned)):
    result = sf.reconstruct(model, task, noisy, n=2 if SMOKE else 4, steps=4 if SMOKE else 10)
    print(f"{name:7} {psnr(result.mean, held_out.data):.2f} dB on held-out tissue")
