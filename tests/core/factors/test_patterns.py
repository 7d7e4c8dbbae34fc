"""Regular expressions and keywords mean what they mean elsewhere."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import ImpossibleError, InvalidOptionError
from sfumato.factors import Deterministic, count, ends, keyword, pattern, starts
from sfumato.testing.machines import every_row

LETTERS = ["a", "b", "c"]
LONGEST = 6
PATTERNS = [
    "a|b", "(a|b)*c", "a{2,4}", "a{3}", "a{2,}", "a{,2}", "a{,}b", "a{0}b", "[^a]*", "[a-b]+c?",
    ".*abc.*", "(ab|bc)+", "a?b?c?", "^a.*c$", "^abc$|b+", "(a*)*", "(a|ab)(c|bcc)?",
    "((a|b){2}){1,2}", "[^ab]|c{3}", r"\w+", r"\d*", r"\S{3}", r"\D+", ".", ".{4}", "(|a)b", "",
    "a+?b*?c??", "(?:ab)*", "(?P<x>a)b", "[abc]", "[]a]+", r"[a\]]*", "[-a]b", "[a-]c", "[^]a]+",
    "a{|b", "a{1,b|c", "x*a", r"\x61b", r"[\x61-b]*", r"\u0063", "a.c", "(^a|b)*", "(a$|b)*",
    "(^|b)a", "a($|b)", r"\Aab\Z", "(a|b)*a(a|b){2}", "(aa|aaa)*", "(a*b*c*|c*b*a*){2}", "(^)*a",
    "a*($^|b)",
    "($|a)+", r"[\w]{2}", r"[^\W]", r"[\da-b]+", "((a|b)(b|c)){2,3}", "(a(b(c)?)?)?",
]  # fmt: skip


def texts(n: int) -> list[str]:
    return ["".join(LETTERS[token] for token in row) for row in every_row(3, n).tolist()]


def members(machine: Deterministic, n: int) -> list[bool]:
    return machine.accepts(every_row(3, n)).tolist()


def compare(text: str, match: str, search: Callable[[str, str], re.Match[str] | None]) -> None:
    machine = pattern(text, LETTERS, match=match)  # type: ignore[arg-type]
    for n in range(LONGEST + 1):
        wanted = [search(text, one) is not None for one in texts(n)]
        assert members(machine, n) == wanted, (text, match, n)
        assert count(machine, n) == sum(wanted)


@pytest.mark.parametrize("text", PATTERNS)
def test_a_pattern_matches_what_python_matches(text: str) -> None:
    compare(text, "full", re.fullmatch)
    compare(text, "search", re.search)


@pytest.mark.parametrize("text", ["a^b", "$a", "a{", r"[^\w]", "[^abc]"])
def test_a_pattern_without_members_is_refused(text: str) -> None:
    with pytest.raises(ImpossibleError, match="nothing agrees with it over this alphabet"):
        pattern(text, LETTERS)


REPEATS = ["*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}", "*?"]
ATOMS = st.sampled_from([*"abc.", "[ab]", "[^c]", "[^ab]", r"\w", "^", "$", "()"])
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(REPEATS)).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(TREES)
def test_patterns_at_random_match_what_python_matches(text: str) -> None:
    for match, search in (("full", re.fullmatch), ("search", re.search)):
        try:
            machine = pattern(text, LETTERS, match=match)  # type: ignore[arg-type]
        except ImpossibleError:
            assert not any(search(text, one) for n in range(5) for one in texts(n))
            continue
        for n in range(5):
            wanted = [search(text, one) is not None for one in texts(n)]
            assert members(machine, n) == wanted, (text, match, n)


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("a**", 3, "a repeat of a repeat"), ("a{1}{2}", 5, "a repeat of a repeat"),
        ("*a", 1, "nothing to repeat"), ("b|+", 3, "nothing to repeat"),
        ("(?:{2})", 4, "nothing to repeat"), ("^*", 2, "nothing to repeat"),
        ("ab{3,2}", 3, "from 3 to 2 times"), ("a(b", 2, "'(' without ')'"),
        ("ab)", 3, "')' without '('"), ("a[bc", 2, "'[' is not finished"),
        ("[]", 1, "'[' is not finished"), ("ab\\", 3, "escape is not finished"),
        ("a[c-a]", 3, "a range from 'c' down to 'a'"), (r"[\w-a]", 2, "a range from or to a set"),
        (r"a\q", 2, "means nothing"), (r"\x6", 1, "without 2 digits"),
        (r"\U00110000", 1, "without 8 digits"), ("(?P<1>a)", 5, "a group's name"),
        (r"(a)\1", 4, "reference to a group"), ("(?P<x>a)(?P=x)", 9, "reference to a group"),
        ("(a)?(?(1)b)", 5, "reference to a group"), ("a(?=b)", 2, "looking ahead"),
        ("(?<!a)b", 1, "looking ahead or behind"), ("a*+", 3, "possessive"), ("a{2}+", 5, "posses"),
        ("(?>a)", 1, "a group with a question"), ("(?i)a", 1, "a group with a question"),
        (r"a\b", 2, "word boundaries"), ("(" * 51 + ")" * 51, 51, "more than 50 groups"),
    ],
)  # fmt: skip
def test_errors_name_the_position(text: str, position: int, what: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        pattern(text, LETTERS)
    assert f", position {position}: " in str(caught.value)
    assert what in str(caught.value)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("ab()[]{}|*+?.^$\\-,12dwx", max_size=8))
def test_what_is_no_pattern_elsewhere_is_none_here(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sets within sets, which Python may give a meaning
        try:
            re.compile(text)
        except re.error:
            with pytest.raises(InvalidOptionError):
                pattern(text, LETTERS)
            return
    try:
        pattern(text, LETTERS)
    except ImpossibleError:
        pass
    except InvalidOptionError as refused:
        assert any(word in str(refused) for word in ("not supported", "repeat of"))  # noqa: PT017


def test_a_pattern_that_needs_a_missing_letter_names_it() -> None:
    with pytest.raises(ImpossibleError, match="no token contains the letters 'xé'"):
        pattern("aéx|é{2}", LETTERS)
    assert pattern("aé|b", LETTERS).states == 2  # what is left has members


@pytest.mark.slow
def test_a_pattern_that_grows_too_large_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="more than 20,000 states"):
        pattern("(a|b)*a(a|b){20}", LETTERS)
    with pytest.raises(InvalidOptionError, match="more than 20,000 states"):
        pattern("(a{1,999}){1,999}", LETTERS)


PIECES = ["a", "b", "c", "ab", "bca", "cc", "", None]


@pytest.mark.parametrize(
    "machine",
    [pattern("(a|bb)[a-c]*c", PIECES), keyword("ab", PIECES, most=1), starts("abc", PIECES),
     ends("ca", PIECES)],
    ids=str,
)  # fmt: skip
def test_longer_tokens_are_read_letter_by_letter(machine: Deterministic) -> None:
    rules: dict[str, Callable[[str], bool]] = {
        "pattern": lambda text: re.fullmatch("(a|bb)[a-c]*c", text) is not None,
        "keyword": lambda text: text.count("ab") == 1,
        "start": lambda text: text.startswith("abc"),
        "end": lambda text: text.endswith("ca"),
    }
    rule = rules[machine.name.partition(" ")[0]]
    rows = every_row(8, 4)
    for row, found in zip(rows.tolist(), machine.accepts(rows).tolist(), strict=True):
        pieces = [PIECES[token] for token in row]
        spelt = None not in pieces and rule("".join(piece or "" for piece in pieces))
        assert found == spelt, pieces


def occurrences(text: str, words: list[str]) -> int:
    return sum(text.startswith(word, place) for word in words for place in range(len(text)))


@pytest.mark.parametrize("words", [["ab"], ["aa"], ["aba", "b"], ["abc", "bc", "ca"], ["aab"]])
@pytest.mark.parametrize(("least", "most"), [(1, 1), (0, 0), (2, None), (1, 2), (0, 1)])
def test_keywords_are_counted(words: list[str], least: int, most: int | None) -> None:
    machine = keyword(words, LETTERS, least=least, most=most)
    for n in range(LONGEST + 1):
        counted = [occurrences(text, words) for text in texts(n)]
        assert members(machine, n) == [least <= k <= (k if most is None else most) for k in counted]


def test_a_start_and_an_end_may_overlap() -> None:
    both = starts("aba", LETTERS) & ends("bab", LETTERS)
    found = ["".join(row) for row in itertools.product("abc", repeat=4)]
    kept = [t for t, m in zip(found, members(both, 4), strict=True) if m]
    assert kept == ["abab"]


def test_a_filled_row_is_matched_without_its_end() -> None:
    machine = pattern("ab*", ["a", "b", "$"], end=2)
    x = torch.tensor([[0, 1, 2, 2], [0, 1, 1, 1], [0, 2, 1, 2], [2, 2, 2, 2], [0, 2, 2, 2]])
    assert machine.accepts(x).tolist() == [True, True, False, False, True]


def test_words_and_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="an empty word"):
        keyword(["a", ""], LETTERS)
    with pytest.raises(InvalidOptionError, match="from 2 to 1 times"):
        keyword("a", LETTERS, least=2, most=1)
    with pytest.raises(ImpossibleError, match="letters 'd'"):
        keyword("ad", LETTERS)
    assert keyword("ad", LETTERS, least=0, most=0).accepts(every_row(3, 3)).all()


@pytest.mark.usefixtures("unchecked_shapes")
def test_another_way_to_match_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="choose 'full' or 'search'"):
        pattern("a", LETTERS, match="half")  # type: ignore[arg-type]
