"""Total variation inside the intervals of a JPEG file."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.tasks import Bound
from sfumato.signals import Signal
from sfumato_image.baselines import gradient
from sfumato_image.intervals import within_intervals
from sfumato_image.operators import DeJPEG

Pixels = NDArray[np.uint8]


def bound(pixels: Pixels, *, orientation: int = 1, **options: object) -> Bound:
    """A picture as a JPEG file says it is."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **{"quality": 15, **options})  # type: ignore[arg-type]
    channels = 1 if pixels.ndim == 2 else 3
    sides = pixels.shape[:2] if orientation < 5 else pixels.shape[1::-1]
    meta = {"encoded": file.getvalue(), "orientation": orientation}
    return DeJPEG().bind(Signal(torch.zeros(channels, *sides), meta))


def found(file: Bound, **options: float) -> Tensor:
    """The picture in double precision."""
    operator = file.operator
    return within_intervals(file.y[0].double(), operator=operator, step=operator.step, **options)


def variation(x: Tensor) -> float:
    return float(gradient(x[None]).square().sum(dim=(0, 2)).sqrt().sum())


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_the_intervals_hold(photograph: Pixels, subsampling: int, share: float) -> None:
    file = bound(photograph, subsampling=subsampling)
    c = file.operator(found(file, share=share, iterations=20)[None])
    outside = (c - file.y).abs() - share * file.operator.step.double() / 2
    assert float(outside.max()) < 1e-9


@pytest.mark.parametrize("orientation", [3, 6])
def test_they_hold_in_pictures_that_were_turned(photograph: Pixels, orientation: int) -> None:
    file = bound(photograph, orientation=orientation)
    c = file.operator(found(file, share=1.0, iterations=5)[None])
    assert float(((c - file.y).abs() - file.operator.step / 2).max()) < 1e-9


def test_they_hold_in_the_blocks_inside_pictures_of_odd_size(photograph: Pixels) -> None:
    file = bound(photograph[:43, :61].copy(), subsampling=2)
    x = found(file, share=1.0, iterations=20)
    assert x.shape == (3, 43, 61)
    outside = (file.operator(x[None]) - file.y).abs() - file.operator.step / 2
    luma = file.operator.split(outside)[0].reshape(6, 8, 64)
    assert float(luma[:5, :7].max()) < 1e-9


def test_a_share_of_zero_is_plain_decoding(photograph: Pixels) -> None:
    file = bound(photograph[..., 1].copy())
    c = file.operator(found(file, share=0, iterations=3)[None])
    torch.testing.assert_close(c, file.y.double(), atol=1e-9, rtol=0)


def test_the_wider_the_intervals_the_smaller_the_variation(photograph: Pixels) -> None:
    file = bound(photograph)
    values = [variation(found(file, share=share, iterations=50)) for share in (0.0, 0.4, 1.0)]
    assert values[0] > values[1] > values[2]


def test_a_constant_in_the_intervals_is_found() -> None:
    """A file that only says that a grey is near another is explained by any constant."""
    file = bound(np.full((16, 16), 117, dtype=np.uint8), quality=5)
    signs = torch.randn(256, generator=torch.Generator().manual_seed(0)).sign()
    noisy = replace(file, y=file.y + 0.3 * signs * file.operator.step)
    x = found(noisy, share=1.0, iterations=400)
    assert float(x.std()) < 1e-3


def test_senseless_settings_are_refused(photograph: Pixels) -> None:
    file = bound(photograph)
    for options in ({"share": 1.5}, {"share": -0.1}, {"iterations": 0}):
        with pytest.raises(InvalidOptionError, match="total variation inside intervals"):
            found(file, **options)
