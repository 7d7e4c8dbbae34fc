"""Is the uncertainty right? Count how often the truth lies in the interval that should hold it.

python examples/calibration.py
"""

import os

import torch
from skimage import data

import sfumato as sf
from sfumato.evaluation.calibration import error_correlation, spread_ratio

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE, COUNT, SAMPLES = (32, 2, 4) if SMOKE else (64, 4, 8)
CORNERS = [(0, 180), (200, 60), (120, 300), (330, 330)][:COUNT]

image = sf.load_plugin("image")
prior = image.prior()
photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1) / 255

for name, options in {"denoise": {"noise": 25}, "super-resolve": {"factor": 2, "noise": 2}}.items():
    task = image.operator(name, **options)
    rows = []
    for index, (top, left) in enumerate(CORNERS):
        truth = sf.Signal(photo[:, top : top + SIDE, left : left + SIDE])
        damaged = sf.degrade(task, truth, seed=index)
        result = sf.reconstruct(
            prior, task, damaged, n=SAMPLES, seed=index, steps=4 if SMOKE else None
        )
        x = truth.data
        held = [
            float(((x >= low) & (x <= high)).float().mean())
            for low, high in (result.interval(0.5), result.interval(0.9))
        ]
        measures = (spread_ratio(result.samples, x), error_correlation(result.samples, x))
        rows.append((float(result.chi2.mean()), *held, *measures))
    chi2, half, most, spread, correlation = torch.tensor(rows).mean(dim=0).tolist()
    print(f"{name}: χ² {chi2:.2f} (1 is right)")
    print(f"  50 % interval holds {100 * half:.0f} %, 90 % interval holds {100 * most:.0f} %")
    print(f"  spread ÷ error {spread:.2f} (1 is right), correlation with |error| {correlation:.2f}")
