"""The classical methods as baselines of the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from sfumato.errors import UnsupportedError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Convolve, Downsample, Identity, Mask
from sfumato.signals import Signal
from sfumato_image import PLUGIN
from sfumato_image.metrics import psnr
from sfumato_image.operators import Declip, DeJPEG
from sfumato_image.operators.colorize import Luma

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
    "grey": Luma(),
}


@pytest.mark.parametrize("name", PLUGIN.baselines)
def test_a_baseline_improves_on_what_it_is_given(name: str) -> None:
    operator = OPERATORS[name]
    y = operator.measure(CLEAN, seed=0)
    x = PLUGIN.part("baselines", name)(operator, y)
    naive = operator.adjoint(y) if name in {"bicubic", "lanczos", "grey"} else y
    assert x.shape == CLEAN.shape
    assert psnr(x, CLEAN).item() > psnr(naive, CLEAN).item() + 0.5


def test_total_variation_deblurs_too() -> None:
    operator = OPERATORS["wiener"]
    y = operator.measure(CLEAN, seed=0)
    assert psnr(PLUGIN.part("baselines", "tv")(operator, y), CLEAN) > psnr(y, CLEAN)


def test_total_variation_removes_jpeg_artefacts_too() -> None:
    task = DeJPEG(quality=10)
    file = task.degrade(Signal(CLEAN[0]))
    bound = task.bind(file)
    found = PLUGIN.part("baselines", "tv")(bound.operator, bound.y)
    assert psnr(found, CLEAN).item() > psnr(file.data[None], CLEAN).item() + 0.3


def test_biharmonic_continues_clipped_values_too() -> None:
    task = Declip(exposure=0.5)
    bound = task.bind(task.degrade(Signal(CLEAN[0])))
    found = bound.finish(PLUGIN.part("baselines", "biharmonic")(bound.operator, bound.y)[0])
    assert psnr(found[None], CLEAN).item() > psnr(bound.y, CLEAN).item() + 0.3


def test_the_grey_baseline_keeps_the_luminance() -> None:
    y = Luma()(CLEAN)
    found = PLUGIN.part("baselines", "grey")(Luma(), y)
    torch.testing.assert_close(Luma()(found), y)
    assert torch.equal(found[:, 0], found[:, 2])


@pytest.mark.parametrize("name", PLUGIN.baselines)
def test_an_operator_it_is_not_made_for_is_refused(name: str) -> None:
    other = OPERATORS["biharmonic" if name != "biharmonic" else "nlm"]
    with pytest.raises(UnsupportedError, match="needs the operator of"):
        PLUGIN.part("baselines", name)(other, CLEAN)
