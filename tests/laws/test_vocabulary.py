"""Many small steps over a large vocabulary keep the model's law.

A race of all tokens with 24-bit random numbers, one race per step, loses every token whose chance
per step is below 2⁻²⁴: with 20,000 tokens and 5,000 steps those below 3·10⁻⁴, some 3 bits of
entropy, and 4 in 10 reveals. Two-stage steps lose neither.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sfumato.noise import Streams
from sfumato.processes import Absorbing

TOKENS, STEPS, PLACES = 20_000, 5_000, 20_000


@pytest.mark.slow
def test_many_steps_over_a_large_vocabulary_keep_entropy_and_rate() -> None:
    zipf = 1 / torch.arange(1, TOKENS + 1, dtype=torch.float64)
    p = zipf / zipf.sum()
    process, streams = Absorbing(TOKENS), Streams.count(0, 1)
    log_probs = p.log().expand(1, PLACES, TOKENS)
    x = process.start((1, PLACES), streams)
    for t, s in itertools.pairwise(process.levels(torch.linspace(1, 0, STEPS + 1).double())):
        x = process.step(log_probs, x, t, s, streams)
        if math.isclose(float(s.t), 0.5, abs_tol=1e-9):
            share = float((x < TOKENS).double().mean())
            assert share == pytest.approx(float(s.alpha), rel=0.02)  # 2.8 standard errors
    assert int(x.max()) < TOKENS
    # 10.13 bits; the race in float32 would draw tokens of 7.32 bits in the mean, and 39 % fewer
    entropy = -float((p * p.log2()).sum())
    found = float(-p.log2()[x].mean())
    assert found == pytest.approx(entropy, abs=0.1)
    rare = p < STEPS / 2**24
    expected = float(p[rare].sum())
    error = math.sqrt(expected * (1 - expected) / PLACES)
    assert float(rare[x].double().mean()) == pytest.approx(expected, abs=4 * error)
