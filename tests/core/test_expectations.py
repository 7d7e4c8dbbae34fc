"""The posterior mean that is read off: nearer than the average, never by a level that is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.expectations import Expectation

N, SIZE = 4, 20_000
TRUTH = torch.linspace(-1, 1, SIZE, dtype=torch.float64)


def chain(seed: int, left: tuple[float, ...]) -> tuple[Tensor, list[Tensor]]:
    """Samples of N(TRUTH, 1), and E[x₀ | x_t] at levels that leave shares ``left`` open."""
    generator = torch.Generator().manual_seed(seed)
    seen = torch.zeros(N, SIZE, dtype=torch.float64)
    levels, before = [], 1.0
    for share in (*left, 0.0):
        step = torch.randn(N, SIZE, dtype=torch.float64, generator=generator)
        seen = seen + (before - share) ** 0.5 * step
        levels.append(TRUTH + seen)
        before = share
    return levels.pop(), levels


def read_off(levels: list[Tensor], samples: Tensor, *, exact: bool = False) -> Tensor | None:
    found = Expectation(1, N, exact=exact)
    for number, level in enumerate(levels):
        for low in (0, 2):  # two batches
            found.add(low, number, level[low : low + 2])
    mean = found.mean(samples)[0]
    return None if mean is None else mean[0]


def error(mean: Tensor | None) -> float:
    assert mean is not None
    return (mean - TRUTH).square().mean().item()


def test_levels_that_agree_bring_the_mean_nearer() -> None:
    samples, levels = chain(0, (0.9, 0.5))
    assert abs(error(samples.mean(0)) * N - 1) < 0.05
    # the two levels' own errors are 0.1/N and 0.5/N, with the first contained in the second
    assert abs(error(read_off(levels, samples)) * N - (0.1 + 0.4 / 4)) < 0.02


def test_a_level_with_a_bias_beyond_the_averages_own_error_is_left_out() -> None:
    samples, levels = chain(1, (0.9, 0.5))
    wrong = levels[0] + 0.7  # the average's error is 0.5
    assert torch.equal(read_off([wrong, levels[1]], samples), read_off([levels[1]], samples))


def test_without_any_level_that_agrees_the_mean_is_the_average() -> None:
    samples, levels = chain(2, (0.9,))
    found = read_off([levels[0] + 3], samples)
    assert found is not None
    torch.testing.assert_close(found, samples.mean(0))


def test_exact_levels_all_count() -> None:
    samples, levels = chain(3, (0.9, 0.5))
    found = read_off(levels, samples, exact=True)
    assert found is not None
    torch.testing.assert_close(found, torch.stack(levels).mean(dim=(0, 1)))


def test_an_item_alone_has_the_mean_that_it_has_among_others() -> None:
    (first, levels), (second, others) = chain(4, (0.9, 0.5)), chain(5, (0.8, 0.1))
    both = Expectation(2, N, exact=False)
    for number, (a, b) in enumerate(zip(levels, others, strict=True)):
        both.add(0, number, torch.cat([a, b]))
    mean = both.mean(torch.cat([first, second]))[0]
    assert mean is not None
    torch.testing.assert_close(mean[1], read_off(others, second))


def test_elements_on_which_all_agree_keep_their_last_bit() -> None:
    samples, levels = chain(6, (0.9, 0.5))
    for x in (samples, *levels):
        x[:, ::3] = TRUTH[::3] / 3
    found = read_off(levels, samples)
    assert found is not None
    assert torch.equal(found[::3], TRUTH[::3] / 3)


def test_a_single_sample_is_no_judge_of_levels() -> None:
    found = Expectation(1, 1, exact=False)
    found.add(0, 0, TRUTH[None])
    assert found.mean(TRUTH[None]) == (None, None)


def test_the_error_of_one_exact_level_is_the_spread_of_its_estimates() -> None:
    samples, levels = chain(7, (0.6,))
    found = Expectation(1, N, exact=True)
    found.add(0, 0, levels[0])
    mean, spread = found.mean(samples)
    assert mean is not None
    assert spread is not None
    torch.testing.assert_close(spread[0], levels[0].std(dim=0) / N**0.5)


def led(samples: Tensor, pilot: Tensor, levels: list[Tensor] | None = None) -> Tensor:
    found = Expectation(1, len(samples), exact=False)
    for number, level in enumerate(levels or []):
        found.add(0, number, level)
    mean = found.mean(samples, pilot[None])[0]
    assert mean is not None
    return mean[0]


def test_the_mean_goes_to_a_pilot_as_far_as_the_least_error_asks() -> None:
    samples, _ = chain(8, (0.9,))
    for bias in (0.25, 0.5, 2.0):
        wave = 2**0.5 * bias * torch.sin(torch.arange(SIZE, dtype=torch.float64))
        own, off = 1 / N, bias**2
        assert abs(error(led(samples, TRUTH + wave)) / (own * off / (own + off)) - 1) < 0.05


def test_a_pilot_that_differs_no_more_than_by_chance_is_the_mean() -> None:
    samples, _ = chain(9, (0.9,))
    assert error(led(samples, TRUTH)) < 1e-3
    assert error(led(samples, samples.mean(0) + 1e-3)) > 0.2  # it knows nothing else


def test_many_samples_do_not_need_a_pilot() -> None:
    generator = torch.Generator().manual_seed(10)
    samples = torch.randn(400, SIZE, dtype=torch.float64, generator=generator)
    far = led(samples, torch.ones(SIZE, dtype=torch.float64))
    assert (far - samples.mean(0)).abs().max() < 0.01


def test_the_way_to_a_pilot_starts_at_the_levels_that_agree() -> None:
    samples, levels = chain(11, (0.9, 0.5))
    found = led(samples, TRUTH + 5, levels)
    read = read_off(levels, samples)
    assert read is not None
    assert (found - read).abs().max() < 0.1
    assert (found - samples.mean(0)).abs().mean() > 0.1


def test_a_pilot_moves_nothing_on_which_all_samples_agree() -> None:
    samples, _ = chain(12, (0.9,))
    samples[:, ::3] = TRUTH[::3] / 3
    assert torch.equal(led(samples, TRUTH + 0.1)[::3], TRUTH[::3] / 3)


def test_a_pilot_is_no_help_where_there_is_one_sample_or_nothing_is_left_open() -> None:
    found = Expectation(1, 1, exact=False)
    assert found.mean(TRUTH[None], TRUTH[None]) == (None, None)
    same = TRUTH.expand(N, SIZE).clone()
    assert torch.equal(led(same, TRUTH + 1), TRUTH)
