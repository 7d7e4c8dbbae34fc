"""Characters as people count them.

A grapheme is a letter with the marks that stand on it, in Unicode's composed form (NFC), so that é
is one character however it was typed. The rules are those of Unicode's grapheme clusters (UAX #29)
for combining marks, joiners, variation selectors, skin tones, flags and decomposed Hangul.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import partial

from sfumato.errors import InvalidOptionError
from sfumato_text.files.reading import place

__all__ = ["alphabet_of", "check_known", "clusters", "composed", "stand_in"]

Span = tuple[int, int]
JOINER = "\u200d"
STAND_INS = {
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'", "′": "'",
    "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "…": "...", "æ": "ae", "Æ": "AE",
    "œ": "oe", "Œ": "OE", "ß": "ss", "ſ": "s", "ø": "o", "Ø": "O", "đ": "d", "ł": "l", "Ł": "L",
    "ð": "d", "þ": "th", "Þ": "Th", "ı": "i", "\t": " ", "\u00a0": " ", "\u2028": "\n",
}  # fmt: skip
"""What is read instead of a sign that an alphabet lacks, where decomposing does not tell."""


def extends(sign: str) -> bool:
    """Whether a code point belongs to the grapheme before it."""
    code = ord(sign)
    return (
        unicodedata.category(sign).startswith("M")
        or sign == JOINER
        or 0x1F3FB <= code <= 0x1F3FF  # skin tones
        or 0xE0020 <= code <= 0xE007F  # tags of flags
        or 0x1160 <= code <= 0x11FF  # vowels and finals of decomposed Hangul
    )


def is_flag(sign: str) -> bool:
    """Whether a code point is half of a flag."""
    return 0x1F1E6 <= ord(sign) <= 0x1F1FF


def clusters(text: str) -> list[Span]:
    """Where each grapheme of a text begins and ends."""
    signs = set(text)
    special = {sign for sign in signs if extends(sign)}
    flags = {sign for sign in signs if is_flag(sign)}
    if not special and not flags and "\r" not in signs:
        return [(i, i + 1) for i in range(len(text))]
    starts: list[int] = []
    halves = 0
    for i, sign in enumerate(text):
        before = text[i - 1] if i else ""
        halves = halves + 1 if sign in flags else 0
        glued = (
            (sign in special and before not in ("\n", "\r"))
            or (before == JOINER and unicodedata.category(sign) == "So")
            or (sign == "\n" and before == "\r")
            or (halves > 0 and halves % 2 == 0)
        )
        if not starts or not glued:
            starts.append(i)
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def composed(cluster: str) -> str:
    """The usual form of a grapheme."""
    return unicodedata.normalize("NFC", cluster)


def alphabet_of(text: str, *, minimum: int = 1) -> tuple[str, ...]:
    """Graphemes of a text that occur often enough, sorted."""
    if max(text, default="") < "\u0300":  # no marks, nothing to compose
        counts = Counter(text.replace("\r\n", ""))
        pairs = text.count("\r\n")
        counts.update({"\r\n": pairs} if pairs else {})
    else:
        counts = Counter(composed(text[start:end]) for start, end in clusters(text))
    return tuple(sorted(sign for sign, count in counts.items() if count >= minimum))


def stand_in(cluster: str, known: frozenset[str]) -> str | None:
    """Signs of an alphabet that come nearest to one that it lacks; ``None`` if none does.

    Marks are taken off, then ligatures and typographic signs spelled out, then the case changed.
    """
    bare = "".join(
        sign for sign in unicodedata.normalize("NFKD", cluster) if not unicodedata.combining(sign)
    )
    spelled = "".join(STAND_INS.get(sign, sign) for sign in bare)
    for candidate in (composed(bare), spelled, spelled.lower(), spelled.upper()):
        if candidate and all(sign in known for sign in candidate):
            return candidate
    return None


def check_known(
    text: str,
    unknown: list[Span],
    *,
    fix: str,
    what: str = "the text",
    where: Callable[[int], str] | None = None,
) -> None:
    """Refuses characters that an alphabet lacks.

    Args:
        text: All of it.
        unknown: Where such characters are.
        fix: What to do about them.
        what: Named in the error.
        where: Offset → place in words; line and column of ``text`` if not given.

    Raises:
        InvalidOptionError: Naming the characters and where each stands first.
    """
    if not unknown:
        return
    first: dict[str, int] = {}
    for start, end in unknown:
        first.setdefault(text[start:end], start)
    found = where or partial(place, text)
    told = [f"{named(sign)} at {found(start)}" for sign, start in list(first.items())[:5]]
    more = f" and {len(first) - 5} more" if len(first) > 5 else ""
    raise InvalidOptionError(
        what,
        f"{len(unknown)} of its characters are not in the alphabet: {'; '.join(told)}{more}",
        fix,
    )


def named(cluster: str) -> str:
    """A character with its code points."""
    codes = " ".join(f"U+{ord(sign):04X}" for sign in cluster)
    return f"{cluster!r} ({codes})"
