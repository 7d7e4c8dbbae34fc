"""Learning rates and averaging constants."""

from __future__ import annotations

import pytest

from sfumato.training.configs import TrainConfig
from sfumato.training.schedules import ema_decay, learning_rate


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_the_rate_warms_up_linearly(schedule: str) -> None:
    config = TrainConfig(steps=1000, warmup=10, lr=2.0, schedule=schedule)  # type: ignore[arg-type]
    assert [learning_rate(config, k) for k in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])


def test_without_warmup_the_first_rate_is_the_peak() -> None:
    assert learning_rate(TrainConfig(warmup=0, lr=1.0), 0) == 1.0


def test_cosine_is_halfway_in_the_middle_and_ends_at_one_per_cent() -> None:
    config = TrainConfig(steps=1000, warmup=0, lr=1.0, schedule="cosine")
    assert learning_rate(config, 500) == pytest.approx(0.505)
    assert learning_rate(config, 999) == pytest.approx(0.01, rel=1e-3)


def test_wsd_is_stable_then_falls_linearly() -> None:
    config = TrainConfig(steps=1000, warmup=0, lr=1.0, schedule="wsd", decay=0.4)
    rates = [learning_rate(config, k) for k in (0, 600, 800, 900, 999)]
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.25, 0.01])


def test_the_average_forgets_the_initial_weights_quickly() -> None:
    config = TrainConfig(steps=10_000, ema=0.999)
    assert [ema_decay(config, k) for k in (0, 8, 89)] == pytest.approx([0.1, 0.5, 90 / 99])
    assert ema_decay(config, 9_999) == 0.999


def test_the_average_shortens_while_the_rate_falls() -> None:
    config = TrainConfig(
        steps=10_000, warmup=0, ema=0.9995, ema_final=0.99, schedule="wsd", decay=0.3
    )
    assert ema_decay(config, 6_000) < ema_decay(config, 6_999)
    assert ema_decay(config, 8_000) == 0.99
