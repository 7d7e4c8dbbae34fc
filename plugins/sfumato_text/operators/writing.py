"""From readings of places to a restored document and what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sfumato.inverse.tokens.tasks import Alternatives, Readings
from sfumato.signals import Signal
from sfumato_text.files.documents import Document, codes_of
from sfumato_text.files.restorations import Change, Restoration, restored_signal
from sfumato_text.operators.rankings import Ranking
from sfumato_text.operators.windows import where

__all__ = ["Filled", "Reading", "readings_of"]


@dataclass(frozen=True)
class Filled:
    """A gap with its ranked fillings."""

    gap: int
    ranking: Ranking


@dataclass(frozen=True)
class Reading:
    """A stretch of the text with its ranked readings.

    Args:
        start: First character that is replaced.
        end: After the last.
        ranking: Readings of it.
    """

    start: int
    end: int
    ranking: Ranking


def readings_of(
    signal: Signal, document: Document, found: Sequence[Filled | Reading], n: int, *, keep: int
) -> Readings:
    """Puts the best reading of every place into the text.

    Args:
        signal: The input.
        document: What was read of it.
        found: Places with their rankings.
        n: Posterior samples to put together.
        keep: Readings to keep of every place.
    """
    changes = [change_of(document, place, None, keep) for place in found]
    restoration = Restoration(document, tuple(changes))
    samples = []
    for j in range(n):
        one = [change_of(document, place, j, 0) for place in found]
        samples.append(codes_of(Restoration(document, tuple(one)).text))
    estimate = codes_of(restoration.text)
    confidence = torch.ones(len(estimate), dtype=torch.float64)
    altered = torch.zeros(len(estimate), dtype=torch.bool)
    places = restoration.places()
    alternatives = []
    for change, (start, end) in zip(restoration.changes, places, strict=True):
        before = document.text[change.start : change.end]
        confidence[start:end] = torch.tensor(change.probabilities, dtype=torch.float64)
        altered[start:end] = torch.tensor([
            k >= len(before) or sign != before[k] for k, sign in enumerate(change.text)
        ], dtype=torch.bool)  # fmt: skip
        alternatives.append(
            Alternatives(
                start,
                end,
                tuple(codes_of(text) for text, _ in change.alternatives),
                tuple(probability for _, probability in change.alternatives),
                where(document.text, change.start),
            )
        )
    whole = Restoration(document, restoration.changes, tuple(confidence.tolist()))
    return Readings(
        estimate, confidence, tuple(samples), altered, restored_signal(signal, whole),
        tuple(alternatives), notes=document.notes,
    )  # fmt: skip


def change_of(document: Document, place: Filled | Reading, sample: int | None, keep: int) -> Change:
    """The change that a place's best reading, or that of one sample, makes."""
    ranking = place.ranking
    best = ranking.readings[0][0] if sample is None else ranking.drawn[sample]
    letters = ranking.letters[best]
    if isinstance(place, Filled):
        start = document.gaps[place.gap].start
        return Change(start, start, best, letters, ranking.readings[:keep], gap=place.gap)
    return Change(place.start, place.end, best, letters, ranking.readings[:keep])
