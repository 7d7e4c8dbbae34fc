"""Windows around damage: they cover it, they are few, they see what is undamaged."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato_image.windows import FARTHEST, Window, margin_for, windows


def covered(boxes: tuple[Window, ...], shape: tuple[int, ...]) -> Tensor:
    count = torch.zeros(shape, dtype=torch.int64)
    for box in boxes:
        count[box.slices[1:]] += 1
    return count


def scattered(seed: int, count: int, shape: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    damaged = torch.zeros(shape, dtype=torch.bool)
    rows = torch.randint(shape[0], (count,), generator=generator)
    columns = torch.randint(shape[1], (count,), generator=generator)
    damaged[rows, columns] = True
    return damaged


def diagonal(height: int, width: int, thickness: int) -> Tensor:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return (rows * width / height - columns).abs() <= thickness / 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 80))
def test_boxes_are_disjoint_and_cover_all_damage(seed: int, count: int, margin: int) -> None:
    damaged = scattered(seed, count, (301, 407))
    found = covered(windows(damaged, margin=margin, largest=50, spread=10), (301, 407))
    assert int(found.max()) == 1
    assert bool((found[damaged] == 1).all())


def test_one_speck_is_one_window_of_its_size() -> None:
    damaged = torch.zeros(1000, 1200, dtype=torch.bool)
    damaged[500:503, 700:705] = True
    (box,) = windows(damaged)
    assert box == Window(500, 503, 700, 705)
    assert box.grown(FARTHEST, (1000, 1200)).sides == (3 + 2 * FARTHEST, 5 + 2 * FARTHEST)


def test_distant_specks_are_repaired_apart_and_near_ones_together() -> None:
    far, near = torch.zeros(2, 1000, 1000, dtype=torch.bool)
    far[100, 100] = far[800, 800] = True
    near[100, 100] = near[103, 104] = True
    assert len(windows(far)) == 2
    assert len(windows(near)) == 1


def test_a_long_scratch_costs_a_fraction_of_a_large_photograph() -> None:
    damaged = diagonal(3000, 4000, 8)  # 12 million pixels, 5,000 along the scratch
    margin = margin_for(damaged)
    boxes = windows(damaged, margin=margin)
    pixels = sum(h * w for h, w in (box.grown(margin, (3000, 4000)).sides for box in boxes))
    assert pixels < 0.12 * damaged.numel()
    assert bool((covered(boxes, (3000, 4000))[damaged] == 1).all())


def test_a_large_hole_is_not_cut() -> None:
    damaged = torch.zeros(2000, 2000, dtype=torch.bool)
    damaged[500:1100, 500:1200] = True
    assert windows(damaged) == (Window(500, 1100, 500, 1200),)


def test_damage_everywhere_is_repaired_as_a_whole() -> None:
    assert windows(scattered(0, 60_000, (400, 400))) == ()


@pytest.mark.parametrize("seed", range(3))
def test_every_window_sees_something_undamaged(seed: int) -> None:
    damaged = scattered(seed, 12, (900, 900))
    damaged |= diagonal(900, 900, 20)
    damaged[0:200, 300:600] = True
    for box in windows(damaged, spread=10):
        assert not bool(damaged[box.grown(FARTHEST, (900, 900)).slices[1:]].all())


def test_margins_end_at_the_edge_of_the_picture() -> None:
    assert Window(0, 2, 5, 9).grown(4, (10, 10)) == Window(0, 6, 1, 10)


def test_thin_damage_asks_for_less_context_than_a_hole() -> None:
    hole = torch.zeros(300, 300, dtype=torch.bool)
    hole[100:160, 100:160] = True
    assert margin_for(diagonal(300, 300, 3)) == 20
    assert margin_for(hole) == FARTHEST
