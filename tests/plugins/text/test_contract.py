"""What the contract of plugins finds wrong with a task on tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

import sfumato as sf
from sfumato.inverse.tokens.tasks import Posed, Readings
from sfumato.testing import check_plugin
from sfumato.token_priors import TokenPrior
from sfumato_text.operators import Fill

TEXT = "the value of the attribute is returned by it"


@dataclass(frozen=True)
class Restless(Fill):
    """Damages another place every time."""

    def degrade(self, signal: sf.Signal, *, seed: int = 0) -> sf.Signal:
        return super().degrade(signal, seed=int(torch.randint(10**6, ())))


@dataclass(frozen=True)
class Crowded(Fill):
    """Its first sample depends on how many there are."""

    def pose(self, signal: sf.Signal, prior: TokenPrior) -> Posed:
        posed = super().pose(signal, prior)

        def assemble(draws: object, n: int) -> Readings:
            found = posed.assemble(draws, n)  # type: ignore[arg-type]
            samples = (found.samples[n - 1], *found.samples[1:])
            return replace(found, samples=(samples[0] + n, *samples[1:]))

        return replace(posed, assemble=assemble)


@dataclass(frozen=True)
class Whole(Fill):
    """Poses nothing."""

    def pose(self, signal: sf.Signal, prior: TokenPrior) -> Posed:
        return replace(super().pose(signal, prior), parts=())


@pytest.mark.parametrize(
    ("task", "law"),
    [
        (Restless(), "degrade depends on its seed only"),
        (Crowded(), "a sample depends on its seed and number only"),
        (Whole(), "degrade leaves something open"),
    ],
    ids=["restless", "crowded", "whole"],
)
def test_a_task_that_breaks_a_law_is_named(small_prior: TokenPrior, task: Fill, law: str) -> None:
    from sfumato.testing.plugins import follow_tokens

    signal = small_prior.codec.to_signal(TEXT)
    with pytest.raises(AssertionError, match=law):
        follow_tokens(task, signal, small_prior)


def test_a_task_on_tokens_is_followed_with_a_prior(small_prior: TokenPrior) -> None:
    plugin = sf.load_plugin("text")
    signal = small_prior.codec.to_signal(TEXT)
    with pytest.raises(AssertionError, match="followed with a prior"):
        check_plugin(replace(plugin, formats={}, priors={}), signal=signal, tasks=[Fill()])
