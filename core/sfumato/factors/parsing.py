r"""Reading regular expressions.

    ab  a|b  (a)  (?:a)  (?P<name>a)  a*  a+  a?  a{m}  a{m,}  a{,n}  a{m,n}  a*?  ^ $ \A \Z
    .  [a-z]  [^a-z]  \d \D \w \W \s \S  \n \t \r \f \v \a  \xhh \uhhhh \Uhhhhhhhh

with the meaning that they have in Python's ``re`` for text, but that ``$`` is the end of the text
only, not also before a last line break. What cannot be said by a machine of finitely many states,
or depends on which of several readings is tried first, is refused: references to groups, looking
ahead or behind, possessive repeats. Lazy repeats have the same members as greedy ones.
"""

from __future__ import annotations

from collections.abc import Callable

from sfumato.errors import InvalidOptionError
from sfumato.factors.expressions import (
    Alternatives,
    Anchor,
    Expression,
    Letters,
    Repeat,
    Sequence,
)

__all__ = ["parse"]

DEEPEST = 50  # groups within groups
DIGITS = "0123456789"
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
KINDS: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "w": lambda letter: letter.isalnum() or letter == "_",
    "s": str.isspace,
}


def parse(text: str, letters: frozenset[str]) -> Expression:
    """The structure of a regular expression over an alphabet.

    Args:
        text: The expression.
        letters: All letters that there are; ``.`` and negated sets mean letters among these.

    Raises:
        InvalidOptionError: If it is no regular expression, or uses what is refused; names the
            position, counted from 1.
    """
    reader = Reader(text, letters)
    found = reader.alternatives()
    if reader.place < len(text):
        raise reader.wrong("')' without '('", r"remove it or write '\)'")
    return found


class Reader:
    """Reads an expression from left to right.

    Args:
        text: The expression.
        letters: The alphabet.
    """

    def __init__(self, text: str, letters: frozenset[str]) -> None:
        self.text, self.letters, self.place, self.depth = text, letters, 0, 0

    def wrong(self, what: str, fix: str, place: int | None = None) -> InvalidOptionError:
        """An error at a position; the present one if none is given."""
        at = self.place if place is None else place
        return InvalidOptionError(f"pattern '{self.text}', position {at + 1}", what, fix)

    def sees(self, *starts: str) -> bool:
        """Whether one of these comes next."""
        return self.text.startswith(starts, self.place)

    def takes(self, start: str) -> bool:
        """Whether this comes next; if so, goes past it."""
        found = self.text.startswith(start, self.place)
        self.place += len(start) * found
        return found

    def next(self, what: str, opened: int) -> str:
        """The next letter, which must be there."""
        if self.place == len(self.text):
            raise self.wrong(f"{what} is not finished", "complete it", opened)
        self.place += 1
        return self.text[self.place - 1]

    def alternatives(self) -> Expression:
        choices = [self.sequence()]
        while self.takes("|"):
            choices.append(self.sequence())
        return choices[0] if len(choices) == 1 else Alternatives(tuple(choices))

    def sequence(self) -> Expression:
        parts: list[Expression] = []
        while self.place < len(self.text) and not self.sees("|", ")"):
            parts.append(self.repeated())
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def repeated(self) -> Expression:
        start = self.place
        inner = self.atom()
        opened = self.place
        bounds = self.bounds()
        if bounds is None:
            return inner
        if isinstance(inner, Anchor) and self.text[start] != "(":
            raise self.wrong(f"nothing to repeat before '{self.text[opened]}'", "remove it", opened)
        if self.takes("+"):
            at = self.place - 1
            raise self.wrong("possessive repeats are not supported", "remove the '+'", at)
        self.takes("?")
        again = self.place
        if self.bounds() is not None:
            raise self.wrong(
                "a repeat of a repeat",
                f"write (?:{self.text[start:again]}) around the first",
                again,
            )
        return Repeat(inner, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        """What ``*``, ``+``, ``?`` or ``{m,n}`` says, if one comes next."""
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.takes(sign):
                return bounds
        return self.counted() if self.sees("{") else None

    def counted(self) -> tuple[int, int | None] | None:
        """``{m,n}``; a brace that begins nothing of the kind is a letter."""
        start = self.place
        self.place += 1
        low = self.digits()
        high = self.digits() if (comma := self.takes(",")) else low
        if not self.takes("}") or not (low or comma):
            self.place = start
            return None
        least, most = int(low or 0), int(high) if high else None
        if most is not None and most < least:
            raise self.wrong(f"from {least} to {most} times", "give the smaller first", start)
        return least, most

    def digits(self) -> str:
        start = self.place
        while self.sees(*DIGITS):
            self.place += 1
        return self.text[start : self.place]

    def atom(self) -> Expression:
        start = self.place
        letter = self.next("pattern", start)
        if letter == "(":
            return self.group(start)
        if letter == "[":
            return self.bracket(start)
        if letter == "\\":
            return self.escape(start)
        if letter == ".":
            return Letters(self.letters - {"\n"})
        if letter in "^$":
            return Anchor(end=letter == "$")
        if letter in "*+?":
            raise self.wrong(f"nothing to repeat before '{letter}'", rf"write '\{letter}'", start)
        if letter == "{":
            self.place = start
            if self.counted() is not None:
                raise self.wrong("nothing to repeat before '{'", r"write '\{'", start)
            self.place = start + 1
        return self.literal(letter)

    def literal(self, letter: str) -> Letters:
        return Letters(self.letters & {letter}, frozenset(letter))

    def group(self, start: int) -> Expression:
        if self.takes("?P<"):
            name = self.text[self.place :].partition(">")[0]
            if not name.isidentifier() or not self.text.startswith(">", self.place + len(name)):
                raise self.wrong("a group's name that is no name", "write (?P<name>…)")
            self.place += len(name) + 1
        elif self.sees("?") and not self.takes("?:"):
            what = "a reference to a group" if self.sees("?P=", "?(") else "a group with a question"
            what = "looking ahead or behind" if self.sees("?=", "?!", "?<=", "?<!") else what
            raise self.wrong(f"{what} is not supported", "use plain groups (…) or (?:…)", start)
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} groups within groups", "write it flatter", start)
        inner = self.alternatives()
        self.depth -= 1
        if not self.takes(")"):
            raise self.wrong("'(' without ')'", r"close it or write '\('", start)
        return inner

    def escape(self, start: int) -> Expression:
        letter = self.next("escape", start)
        if letter in "AZ":
            return Anchor(end=letter == "Z")
        if letter in "bB":
            raise self.wrong("word boundaries are not supported", "name the letters around", start)
        if letter in DIGITS[1:]:
            raise self.wrong("a reference to a group is not supported", "write it out", start)
        kind = self.kind(letter)
        return self.literal(self.escaped(letter, start)) if kind is None else Letters(kind)

    def kind(self, letter: str) -> frozenset[str] | None:
        r"""The letters of ``\d``, ``\w``, ``\s`` or of their complements."""
        rule = KINDS.get(letter.lower())
        if rule is None:
            return None
        members = frozenset(filter(rule, self.letters))
        return members if letter.islower() else self.letters - members

    def escaped(self, letter: str, start: int) -> str:
        """The one letter that an escape stands for."""
        if letter in ESCAPES:
            return ESCAPES[letter]
        if letter in "xuU":
            size = {"x": 2, "u": 4, "U": 8}[letter]
            code = self.text[self.place : self.place + size]
            digits = len(code) == size and all(c in "0123456789abcdefABCDEF" for c in code)
            if not digits or int(code, 16) > 0x10FFFF:
                raise self.wrong(f"'\\{letter}' without {size} digits", "complete it", start)
            self.place += size
            return chr(int(code, 16))
        if letter == "0":
            return "\0"
        if letter.isascii() and letter.isalpha():
            raise self.wrong(f"'\\{letter}' means nothing", f"write '{letter}'", start)
        return letter

    def bracket(self, start: int) -> Expression:
        """A set; ``]`` as its first member is a letter."""
        negated = self.takes("^")
        members: set[str] = set()
        named: set[str] = set()
        first = self.place
        while self.place == first or not self.sees("]"):
            at = self.place
            low = self.member(start)
            if not self.sees("-") or self.sees("-]"):
                high = low
            else:
                self.place += 1
                high = self.member(start)
            if isinstance(low, frozenset) and high is low:
                members |= low
                continue
            if isinstance(low, frozenset) or isinstance(high, frozenset):
                raise self.wrong("a range from or to a set", r"write '\-' for the letter", at)
            if high < low:
                raise self.wrong(f"a range from '{low}' down to '{high}'", "turn it round", at)
            members |= {letter for letter in self.letters if low <= letter <= high}
            named |= {low} if low == high else set()
        self.place += 1
        if negated:
            return Letters(self.letters - members)
        return Letters(frozenset(members), frozenset(named))

    def member(self, start: int) -> str | frozenset[str]:
        """One letter of a set, or several that an escape names."""
        at = self.place
        letter = self.next("'['", start)
        if letter != "\\":
            return letter
        escaped = self.next("'['", start)
        kind = self.kind(escaped)
        if kind is not None:
            return kind
        return "\b" if escaped == "b" else self.escaped(escaped, at)
