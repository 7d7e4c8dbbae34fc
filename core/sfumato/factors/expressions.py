"""The structure of regular expressions: letters out of a set, sequences, alternatives, repeats."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Alternatives", "Anchor", "Expression", "Letters", "Repeat", "Sequence", "named"]


@dataclass(frozen=True)
class Letters:
    """One letter out of a set; ``named`` are those that the expression spells out."""

    members: frozenset[str]
    named: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Anchor:
    """The start of the text, or its end."""

    end: bool


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Alternatives:
    """One of several."""

    choices: tuple[Expression, ...]


@dataclass(frozen=True)
class Repeat:
    """From ``least`` to ``most`` times; ``None``: any number."""

    inner: Expression
    least: int
    most: int | None


Expression = Letters | Anchor | Sequence | Alternatives | Repeat


def named(tree: Expression) -> frozenset[str]:
    """The letters that an expression spells out."""
    if isinstance(tree, Letters):
        return tree.named
    if isinstance(tree, Repeat):
        return named(tree.inner)
    if isinstance(tree, Anchor):
        return frozenset()
    parts = tree.parts if isinstance(tree, Sequence) else tree.choices
    return frozenset().union(*map(named, parts))
