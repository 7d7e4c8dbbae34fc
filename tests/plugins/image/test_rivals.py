"""The classical methods as baselines of the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from sfumato.errors import UnsupportedError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Convolve, Downsample, Identity, Mask
from sfumato_image import PLUGIN
from sfumato_image.metrics import psnr

CAT = torch.from_numpy(np.ascontiguousarray(data.chelsea()[90:154, 150:214].transpose(2, 0, 1)))
CLEAN = CAT[None].float() / 255
HALF = (torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
BLUR = torch.outer(torch.tensor([1.0, 4, 6, 4, 1]), torch.tensor([1.0, 4, 6, 4, 1])) / 256
OPERATORS = {
    "bicubic": Downsample(2, (64, 64)),
    "lanczos": Downsample(2, (64, 64)),
    "wiener": Convolve(BLUR, (64, 64), "reflect", Gaussian(0.005)),
    "tv": Identity(Gaussian(0.1)),
    "nlm": Identity(Gaussian(0.1)),
    "wavelet": Identity(Gaussian(0.1)),
    "biharmonic": Mask(HALF),
}


@pytest.mark.parametrize("name", PLUGIN.baselines)
def test_a_baseline_improves_on_what_it_is_given(name: str) -> None:
    operator = OPERATORS[name]
    y = operator.measure(CLEAN, seed=0)
    x = PLUGIN.part("baselines", name)(operator, y)
    naive = operator.adjoint(y) if name in {"bicubic", "lanczos"} else y
    assert x.shape == CLEAN.shape
    assert psnr(x, CLEAN).item() > psnr(naive, CLEAN).item() + 0.5


def test_total_variation_deblurs_too() -> None:
    operator = OPERATORS["wiener"]
    y = operator.measure(CLEAN, seed=0)
    assert psnr(PLUGIN.part("baselines", "tv")(operator, y), CLEAN) > psnr(y, CLEAN)


@pytest.mark.parametrize("name", PLUGIN.baselines)
def test_an_operator_it_is_not_made_for_is_refused(name: str) -> None:
    other = OPERATORS["biharmonic" if name != "biharmonic" else "nlm"]
    with pytest.raises(UnsupportedError, match="needs the operator of"):
        PLUGIN.part("baselines", name)(other, CLEAN)
