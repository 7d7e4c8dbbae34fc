"""Readings of an open place, ranked by their posterior probability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sfumato.inverse.tokens.tasks import PartDraws

__all__ = ["Ranking", "merged", "ranked"]


@dataclass(frozen=True)
class Ranking:
    """Readings with their probabilities, best first.

    Args:
        readings: Texts and their probabilities.
        letters: Text → how likely each of its characters is right.
        drawn: The reading of every posterior sample.
        weight: Posterior probability of the case that these readings belong to.
    """

    readings: tuple[tuple[str, float], ...]
    letters: dict[str, tuple[float, ...]]
    drawn: tuple[str, ...]
    weight: float = 1.0


def ranked(
    draw: PartDraws, place: slice, decode: Callable[[Tensor], str], weight: float = 1.0
) -> Ranking:
    """Readings of ``place``, by their share of the draws.

    Args:
        draw: Draws and marginals of a part.
        place: Which of its tokens.
        decode: Tokens → text.
        weight: Probability of this case, such as a length of the gap.
    """
    rows = draw.x[:, place]
    texts = [decode(row) for row in rows]
    shares = Counter(texts)
    ids = dict(zip(texts, rows, strict=True))
    marginals = draw.marginals[place]
    letters = {
        text: tuple((weight * marginals.gather(1, row[:, None])[:, 0]).tolist())
        for text, row in ids.items()
    }
    # one more draw may show something new
    total = len(texts) + 1
    readings = tuple((t, weight * count / total) for t, count in shares.most_common())
    return Ranking(readings, letters, tuple(texts), weight)


def merged(
    cases: Sequence[Ranking],
    u: Float[Tensor, " n"],
    evidence: Float[Tensor, "cases n"],
) -> Ranking:
    """One ranking of several cases, weighted by their probabilities.

    Args:
        cases: Cases that exclude each other.
        u: A uniform number for every sample; it chooses the sample's case.
        evidence: Every sample's estimates of ln p(y) in each case, so that a sample depends on its
            own draws and on no other's.
    """
    if len(cases) == 1:
        return cases[0]
    readings = sorted((pair for case in cases for pair in case.readings), key=lambda p: -p[1])
    letters = {text: row for case in cases for text, row in case.letters.items()}
    below = evidence.softmax(dim=0).cumsum(dim=0)
    chosen = (below < u).sum(dim=0).clamp(max=len(cases) - 1).tolist()
    drawn = tuple(cases[case].drawn[j] for j, case in enumerate(chosen))
    return Ranking(tuple(readings), letters, drawn)
