"""Regular expressions, keywords, beginnings and ends as machines over any tokens.

A language of letters is a table of states; a token moves through it letter by letter. So the same
pattern works for characters and for vocabularies of longer pieces, wherever their borders fall.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from sfumato.errors import ImpossibleError, InvalidOptionError
from sfumato.factors import expressions as ex
from sfumato.factors.automata import Deterministic
from sfumato.factors.nets import compiled
from sfumato.factors.parsing import parse
from sfumato.factors.tables import Table, complete, minimal

__all__ = ["Alphabet", "ends", "keyword", "pattern", "spell", "starts"]

Alphabet = Sequence[str | None]


def pattern(
    text: str,
    alphabet: Alphabet,
    *,
    match: Literal["full", "search"] = "full",
    end: int | None = None,
) -> Deterministic:
    """Rows whose text a regular expression matches; see ``sfumato.factors.parsing``.

    Args:
        text: The expression.
        alphabet: Text of each token; ``None`` for tokens that must not occur.
        match: ``"full"``: the whole text; ``"search"``: some part of it.
        end: Token that fills the row after the text, see ``Deterministic.ending``.

    Raises:
        InvalidOptionError: If it is no regular expression (names the position), or needs too many
            states.
        ImpossibleError: If no text over this alphabet matches.
    """
    if match not in ("full", "search"):
        raise InvalidOptionError("pattern", f"match '{match}'", "choose 'full' or 'search'")
    letters, name = letters_of(alphabet), f"pattern '{text}'"
    tree = parse(text, letters)
    table, columns = compiled(tree, letters, around=match == "search", name=name)
    return spell(table, columns, alphabet, end=end, name=name, wanted=ex.named(tree))


def starts(text: str, alphabet: Alphabet, *, end: int | None = None) -> Deterministic:
    """Rows whose text starts with ``text``.

    Raises:
        ImpossibleError: If the alphabet lacks a letter of it.
    """
    return anchored(text, alphabet, end, f"start '{text}'", before=False)


def ends(text: str, alphabet: Alphabet, *, end: int | None = None) -> Deterministic:
    """Rows whose text ends with ``text``.

    Raises:
        ImpossibleError: If the alphabet lacks a letter of it.
    """
    return anchored(text, alphabet, end, f"end '{text}'", before=True)


def anchored(
    text: str, alphabet: Alphabet, end: int | None, name: str, *, before: bool
) -> Deterministic:
    """Rows with a given text at one side and anything at the other."""
    letters = letters_of(alphabet)
    anything = ex.Repeat(ex.Letters(letters), 0, None)
    literal = [ex.Letters(letters & {letter}, frozenset(letter)) for letter in text]
    tree = ex.Sequence((anything, *literal) if before else (*literal, anything))
    table, columns = compiled(tree, letters, name=name)
    return spell(table, columns, alphabet, end=end, name=name, wanted=frozenset(text))


def keyword(
    words: str | Sequence[str],
    alphabet: Alphabet,
    *,
    least: int = 1,
    most: int | None = None,
    end: int | None = None,
) -> Deterministic:
    """Rows in which words occur a number of times; occurrences may overlap.

    Exactly once is ``most=1``, never is ``least=0, most=0``. Of several words all occurrences count
    together; for each by itself take the product of one machine each. Counted with the automaton
    of Aho & Corasick (1975).

    Args:
        words: One or several.
        alphabet: Text of each token; ``None`` for tokens that must not occur.
        least: Fewest occurrences.
        most: Most occurrences; ``None``: any number.
        end: Token that fills the row after the text, see ``Deterministic.ending``.

    Raises:
        InvalidOptionError: If a word is empty or the numbers make no sense.
        ImpossibleError: If the alphabet lacks a letter that is needed.
    """
    several = [words] if isinstance(words, str) else list(dict.fromkeys(words))
    name = " or ".join(f"'{word}'" for word in several)
    if not several or "" in several:
        raise InvalidOptionError("keyword", "an empty word", "give words of at least one letter")
    limits(name, least, most)
    columns = {letter: k for k, letter in enumerate(sorted(set("".join(several))))}
    links, found = trie([[columns[letter] for letter in word] for word in several], len(columns))
    table = counting(links, found, least, most)
    others = letters_of(alphabet) - columns.keys()
    columns |= dict.fromkeys(others, len(columns))
    wanted = frozenset("".join(several)) if least else frozenset()
    return spell(table, columns, alphabet, end=end, name=f"keyword {name}", wanted=wanted)


def trie(words: list[list[int]], kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each letter leads from each longest matched beginning, and how many words end there.

    The last column is for all letters in no word.
    """
    children: list[dict[int, int]] = [{}]
    found = [0]
    for word in words:
        node = 0
        for letter in word:
            if letter not in children[node]:
                children[node][letter] = len(children)
                children.append({})
                found.append(0)
            node = children[node][letter]
        found[node] += 1
    links, waiting = np.zeros((len(children), kinds + 1), dtype=np.int64), deque([(0, 0)])
    while waiting:
        node, suffix = waiting.popleft()  # suffix: the longest proper one that begins a word
        links[node] = links[suffix] if node else 0
        found[node] += found[suffix] if node else 0
        for letter, child in children[node].items():
            waiting.append((child, int(links[suffix, letter]) if node else 0))
            links[node, letter] = child
    return links, np.array(found)


def counting(links: np.ndarray, found: np.ndarray, least: int, most: int | None) -> Table:
    """Counts what is found on entering states, up to where the count no longer matters."""
    n, top = len(links), least if most is None else most
    state, count = np.tile(np.arange(n), top + 1), np.arange(top + 1).repeat(n)
    total = count[:, None] + found[links[state]]
    following = np.minimum(total, top) * n + links[state]
    if most is not None:
        following = np.where(total > most, -1, following)
    return minimal(Table(following, count >= least, 0))


def spell(
    table: Table,
    columns: dict[str, int],
    alphabet: Alphabet,
    *,
    end: int | None = None,
    name: str = "language",
    wanted: frozenset[str] = frozenset(),
) -> Deterministic:
    """A language of letters as a language of tokens.

    Args:
        table: The language.
        columns: Column of each letter in it.
        alphabet: Text of each token; ``None`` for tokens that must not occur.
        end: Token that fills the row after the text.
        name: What error messages call it.
        wanted: Letters that it names, for the error message.

    Raises:
        ImpossibleError: If no row of any length belongs to it.
    """
    states = len(table.next)
    walks = complete(table).next  # state number `states` is refusal
    wide = np.full((states, len(alphabet)), -1)
    for token, piece in enumerate(alphabet):
        if piece is None:
            continue
        reached = np.arange(states)
        for letter in piece:
            reached = walks[reached, columns[letter]]
        wide[:, token] = np.where(reached == states, -1, reached)
    accepting = torch.from_numpy(table.accepting)
    machine = Deterministic(torch.from_numpy(wide), accepting, table.start, name).minimal()
    if not bool(machine.accepting.any()):
        lacking = "".join(sorted(wanted - letters_of(alphabet)))
        fix = f"no token contains the letters '{lacking}'" if lacking else "change it"
        raise ImpossibleError(name, "over this alphabet", fix)
    return machine if end is None else machine.ending(end)


def letters_of(alphabet: Alphabet) -> frozenset[str]:
    """All letters that occur in tokens."""
    return frozenset("".join(piece or "" for piece in alphabet))


def limits(name: str, least: int, most: int | None) -> None:
    """Refuses numbers of times that make no sense."""
    if least < 0 or (most is not None and most < least):
        raise InvalidOptionError(
            name, f"from {least} to {most} times", "choose 0 ≤ least ≤ most or leave out most"
        )
