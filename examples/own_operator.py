"""An operator of your own: a camera's colour filter mosaic with photon noise.

python examples/own_operator.py
"""

import os

import torch
from skimage import data
from torch import Tensor

import sfumato as sf
from sfumato.inverse.likelihoods import Poisson
from sfumato.inverse.operators import FromFunction
from sfumato.testing import check_operator

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE = 32 if SMOKE else 96

# which colour each pixel records: rows of G R G R ... and B G B G ...
colours = torch.tensor([[1, 0], [2, 1]]).repeat(SIDE // 2, SIDE // 2)
keep = torch.nn.functional.one_hot(colours, 3).permute(2, 0, 1)


def mosaic(x: Tensor) -> Tensor:
    """[batch, 3, height, width] → [batch, 1, height, width]."""
    return (keep.to(x) * x).sum(dim=1, keepdim=True)


operator = FromFunction(mosaic, shape=(3, SIDE, SIDE), likelihood=Poisson(gain=400, background=2))
check_operator(operator, torch.rand(2, 3, SIDE, SIDE))  # adjoint, linearity, inverse, likelihood

crop = data.coffee()[60 : 60 + SIDE, 160 : 160 + SIDE]
truth = torch.from_numpy(crop).permute(2, 0, 1)[None] / 255
raw = operator.measure(truth, seed=0)

image = sf.load_plugin("image")
prior = image.prior()
print(sf.explain(operator, prior))
result = sf.reconstruct(prior, operator, raw, n=2 if SMOKE else 4, steps=4 if SMOKE else None)
print(result)
print(f"PSNR {image.part('metrics', 'psnr')(result.mean, truth[0]):.2f} dB")
