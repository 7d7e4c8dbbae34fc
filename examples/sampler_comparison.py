"""Compare samplers at the same number of network evaluations.

python examples/sampler_comparison.py

All start from the same noise. The reference is a fine solution of the probability flow; for the
stochastic ones, which do not follow it, the deviation says nothing, so they are left out.
"""

import os

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
BUDGET, N = (6, 2) if SMOKE else (12, 16)
NAMES = ["ddim", "dpm-solver", "dpm-solver-3s", "deis", "ipndm", "unipc"]

prior = sf.Prior.load("digits")
reference = sf.sample(prior, n=N, sampler="dpm-solver-3m", steps=12 if SMOKE else 120, end=0.06)
print(f"{'sampler':14} {'paper':24} evaluations  deviation")
for name in NAMES:
    preset = sf.presets()[name]
    steps = BUDGET // (preset.cost or 1)
    x = sf.sample(prior, n=N, sampler=name, steps=steps, end=0.06)
    gap = (x - reference).square().mean().sqrt().item()
    print(f"{name:14} {preset.paper:24} {BUDGET:11d}  {gap:.4f}")
