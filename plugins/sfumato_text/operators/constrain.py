"""Writing under constraints: gaps whose filling has to obey rules.

    And the LORD said [--40--]        the filling matches a pattern, holds a word, has a length

Each rule is a finite-state machine over the characters of the gap; their product says which strings
are allowed, and the prior which of these are likely. Every sample obeys all rules, and is drawn
from the prior given that it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from sfumato import factors
from sfumato.errors import InvalidOptionError
from sfumato.factors import Machine
from sfumato.factors.spans import Within
from sfumato.signals import Signal
from sfumato_text.files.documents import Document, Gap
from sfumato_text.operators.fill import Fill
from sfumato_text.operators.windows import Window

__all__ = ["Constrain"]


@dataclass(frozen=True)
class Constrain(Fill):
    """Fills gaps with texts that obey rules.

    Args:
        pattern: Regular expression that the whole filling matches.
        keyword: Words that it holds at least once each.
        once: Words that it holds exactly once each.
        never: Words that it does not hold.
        starts: How it begins.
        ends: How it ends.
        length: Its characters where the gap leaves them open, such as "40" or "30-50".
    """

    summary: ClassVar[str] = "fill gaps with texts that match a pattern, hold words, have a length"
    together: ClassVar[bool] = False

    pattern: str = ""
    keyword: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    starts: str = ""
    ends: str = ""
    length: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("keyword", "once", "never"):
            words = getattr(self, name)
            words = (words,) if isinstance(words, str) else tuple(words)
            if not all(words):
                raise InvalidOptionError(f"text constrain, {name}", "an empty word", "name one")
            object.__setattr__(self, name, words)
        if self.length and not re.fullmatch(r"\d+(-\d+)?", self.length):
            raise InvalidOptionError(
                "text constrain", f"length='{self.length}'", "write it as 40 or 30-50"
            )
        if not (self.rules or self.length):
            raise InvalidOptionError(
                "text constrain", "no rule is given",
                "use pattern, keyword, once, never, starts, ends or length",
            )  # fmt: skip

    @property
    def rules(self) -> bool:
        """Whether a rule other than the length is given."""
        return bool(
            self.pattern or self.keyword or self.once or self.never or self.starts or self.ends
        )

    @lru_cache(maxsize=4)  # noqa: B019 - a task is small, and so are its machines
    def machine(self, letters: tuple[str, ...]) -> Machine | None:
        """All rules but the length as one machine over the characters of a gap.

        Raises:
            InvalidOptionError: If the pattern is no regular expression; names the position.
            ImpossibleError: If no text can obey the rules.
        """
        made: list[Machine] = []
        if self.pattern:
            made.append(factors.pattern(self.pattern, letters))
        made += [factors.keyword(word, letters) for word in self.keyword]
        made += [factors.keyword(word, letters, least=1, most=1) for word in self.once]
        if self.never:
            made.append(factors.keyword(self.never, letters, least=0, most=0))
        if self.starts:
            made.append(factors.starts(self.starts, letters))
        if self.ends:
            made.append(factors.ends(self.ends, letters))
        return factors.product(*made) if made else None

    def lengths(self, document: Document, window: Window, codec: Any) -> list[int | None]:
        gap = document.gaps[window.gaps[0]]
        rule = self.machine(codec.pieces)
        if gap.fixed:
            if rule is not None:
                factors.require(rule, gap.minimum)
            return [None]
        low, _, high = self.length.partition("-")
        least = max(gap.minimum, int(low or 0))
        most = int(high or low or self.longest)
        most = most if gap.maximum is None else min(most, gap.maximum)
        allowed = range(least, most + 1) if rule is None else factors.lengths(rule, most)
        found: list[int | None] = [k for k in allowed if k >= least]
        if not found:
            raise InvalidOptionError(
                "text constrain", f"no text of {least} to {most} characters obeys the rules",
                "change --length or --longest, or loosen the rules",
            )  # fmt: skip
        return found

    def factor(
        self, document: Document, window: Window, length: int | None, codec: Any
    ) -> Machine | None:
        rule = self.machine(codec.pieces)
        if rule is None:
            return None
        before, gap, _ = window.pieces(document)
        assert isinstance(before, str)
        assert isinstance(gap, Gap)  # windows hold one each
        place = len(codec.encode(before))
        return Within(rule, place, place + (gap.minimum if length is None else length))

    def check(self, signal: Signal) -> None:
        self.document(signal)
