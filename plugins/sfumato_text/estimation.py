"""Channels counted in pairs of noisy and clean text, or found with a prior where there are none.

Texts are aligned character by character: place by place if all pairs have equal lengths, else with
the fewest edits, and then, by EM, in all ways that the channel found so far allows
(``sfumato_text.expected``). What was counted is smoothed towards a channel that is taken for
granted: an error rate as if ``strength`` further characters had been seen with the pooled rate, and
shares as if ``strength`` further errors had been seen of its kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sfumato.errors import InvalidOptionError
from sfumato_text.alignments import pairs as aligned
from sfumato_text.channels import Channel, uniform
from sfumato_text.expected import Edits, Expectation, regions

__all__ = ["Counts", "count", "estimate", "refine"]

Pair = tuple[str, str]


@dataclass
class Counts:
    """What became of characters.

    Args:
        read: x → what it was read as → how often.
        lost: x → how often it was left out.
        inserted: What was put in → how often.
        places: Where something could have been put in.
    """

    read: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(zeros))
    lost: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    inserted: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    places: int = 0

    @classmethod
    def expected(cls, both: Iterable[Pair], channel: Channel) -> Counts:
        """Expected counts under a channel that loses and inserts."""
        pairs = list(both)
        found = cls()
        signs = sorted({sign for pair in pairs for text in pair for sign in text})
        weigher = Expectation(channel, signs)
        for noisy, clean in pairs:
            found.places += len(clean) + 1
            for block in regions(clean, noisy):
                x, y = clean[block.start : block.end], noisy[block.first : block.last]
                edits = None if block.same else weigher.edits(x, y)
                if edits is None:
                    found.tally(y, x, edits=not block.same)
                else:
                    found.weigh(y, x, edits)
        return found

    def weigh(self, noisy: str, clean: str, edits: Edits) -> None:
        """Adds expected edits of a region."""
        for i, x in enumerate(clean):
            self.lost[x] += float(edits.lost[i])
            for j, y in enumerate(noisy):
                self.read[x][y] += float(edits.read[i, j])
        for j, y in enumerate(noisy):
            self.inserted[y] += float(edits.inserted[j])

    def add(self, noisy: str, clean: str, *, edits: bool) -> None:
        """Counts one pair."""
        self.places += len(clean) + 1
        self.tally(noisy, clean, edits=edits)

    def tally(self, noisy: str, clean: str, *, edits: bool) -> None:
        """Counts one alignment."""
        if not edits:
            for y, x in zip(noisy, clean, strict=True):
                self.read[x][y] += 1
            return
        for i, j in aligned(clean, noisy):
            if i is None:
                assert j is not None
                self.inserted[noisy[j]] += 1
            elif j is None:
                self.lost[clean[i]] += 1
            else:
                self.read[clean[i]][noisy[j]] += 1


def zeros() -> dict[str, float]:
    return defaultdict(float)


def count(pairs: Iterable[Pair], *, edits: bool | None = None) -> Counts:
    """Counts what became of characters in pairs of noisy and clean text.

    Args:
        pairs: (noisy, clean).
        edits: Whether characters may be lost and inserted; whether some lengths differ, if not
            given.

    Raises:
        InvalidOptionError: If there are no pairs, or lengths differ without ``edits``.
    """
    both = list(pairs)
    if not any(clean for _, clean in both):
        raise InvalidOptionError("estimation", "there are no pairs of texts", "give some")
    unequal = next((k for k, (noisy, clean) in enumerate(both) if len(noisy) != len(clean)), None)
    if edits is False and unequal is not None:
        noisy, clean = both[unequal]
        raise InvalidOptionError(
            "estimation", f"pair {unequal} has {len(noisy)} noisy, {len(clean)} clean characters",
            "allow edits, or give texts of equal lengths",
        )  # fmt: skip
    found = Counts()
    for noisy, clean in both:
        found.add(noisy, clean, edits=unequal is not None if edits is None else edits)
    return found


def estimate(
    pairs: Iterable[Pair],
    *,
    base: Channel | None = None,
    strength: float = 10.0,
    edits: bool | None = None,
    rounds: int = 3,
    name: str = "estimated",
    losses: bool = False,
) -> Channel:
    """The channel of pairs of noisy and clean text.

    Args:
        pairs: (noisy, clean).
        base: Where shares are smoothed to; anything for anything if not given.
        strength: How many characters, and errors, the smoothing is worth.
        edits: Whether characters may be lost and inserted; found out if not given.
        rounds: Rounds of EM, if they may.
        name: Of the channel.
        losses: Whether each character is lost at a rate of its own.

    Raises:
        InvalidOptionError: If there is nothing to count, or ``strength`` is not positive.
    """
    if not strength > 0:
        raise InvalidOptionError("estimation", f"strength={strength}", "use more than 0")
    base = base or uniform()
    both = list(pairs)
    found = smoothed(count(both, edits=edits), base, strength, name, losses=losses)
    for _ in range(rounds if found.edits else 0):
        expected = Counts.expected(both, found)
        found = smoothed(expected, base, strength, name, losses=losses)
    return found


def smoothed(counts: Counts, base: Channel, strength: float, name: str, *, losses: bool) -> Channel:
    """The channel of counts."""
    untouched = set(base.untouched)
    read = {x: row for x, row in counts.read.items() if x not in untouched}
    total = sum(sum(row.values()) for row in read.values())
    wrong = total - sum(row[x] for x, row in read.items())
    pooled = (wrong + 0.5) / (total + 1)
    rates, confusions = {}, {}
    for x, row in read.items():
        seen = sum(row.values())
        errors = {y: n for y, n in row.items() if y != x and y not in untouched}
        known = base.confusions.get(x, {})
        mass = sum(errors.values()) + strength
        rates[x] = (seen - row[x] + strength * pooled) / (seen + strength)
        confusions[x] = {
            y: (errors.get(y, 0) + strength * known.get(y, 0.0)) / mass for y in {*errors, *known}
        }
    lost = sum(n for x, n in counts.lost.items() if x not in untouched)
    put_in = {y: n for y, n in counts.inserted.items() if y not in untouched}
    extra = sum(put_in.values())
    smooth = 0.5 if counts.lost or counts.inserted else 0.0  # never impossible once seen
    pooled_loss = (lost + smooth) / (total + lost + 1)
    own = {
        x: (counts.lost[x] + strength * pooled_loss)
        / (sum(counts.read[x].values()) + counts.lost[x] + strength)
        for x in sorted({*counts.read, *counts.lost} - untouched)
    }
    return Channel(
        name,
        rate=pooled,
        rates=rates,
        confusions={**base.confusions, **confusions},
        lost=pooled_loss,
        losses=own if losses else {},
        inserted=(extra + smooth) / (counts.places + extra + 1),
        letters={y: n / (extra + strength) for y, n in put_in.items()},
        untouched=base.untouched,
    )


def refine(
    draw: Callable[[Channel], Iterable[Pair]],
    start: Channel,
    *,
    rounds: int = 3,
    strength: float = 10.0,
    edits: bool | None = None,
) -> Channel:
    """A channel from noisy texts alone, by stochastic EM with a prior.

    Each round draws clean texts from the posterior under the last channel, and counts in them as if
    they were the truth (Celeux & Diebolt, 1985).

    Args:
        draw: Channel ↦ pairs of noisy text and a posterior draw of the clean one.
        start: Where to begin, and where shares are smoothed to.
        rounds: How often.
        strength: As for ``estimate``.
        edits: As for ``estimate``.
    """
    channel = start
    for _ in range(rounds):
        channel = estimate(
            draw(channel), base=start, strength=strength, edits=edits, name=start.name
        )
    return channel
