"""Every sample obeys every rule, and is otherwise drawn from the prior."""

from __future__ import annotations

import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.denoisers.sequential import walk
from sfumato.errors import ImpossibleError, InvalidOptionError, SfumatoError
from sfumato.inverse.tokens.histories import chain_of
from sfumato.processes import Absorbing
from sfumato.token_priors import Expert, TokenPrior
from sfumato_text.backbones.counts import Counts
from sfumato_text.discounts import Discounts
from sfumato_text.files.documents import codes_of, text_of
from sfumato_text.ngrams import NGrams
from sfumato_text.operators import Constrain
from sfumato_text.tokenisers import Characters

ALPHABET = "abc"
PATTERNS = """
a* | b+ | c? | abc | (a|b)* | (ab|ba)+ | a{3} | b{2,4} | c{2,} | (abc){2} | [ab]+ | [^a]+ | [^ab]*
a.*b | .*abc.* | (a|bc)*a | ((a|b)c)+ | a(b|c)?a | (aa)* | (a{2}|b{3})+ | [a-c]{5} | .{4} | ^abc$
^a.*$
(a|ab)(c|bcb) | (a*b*)c | a+b+c+ | (ab)*|c+ | ([ab]c){2,3} | (a(b(c)))+ | [^c]{3}c | b?a?c?b?
(a|b|c){6} | ((ab|c){2}){2} | a(bc|cb)*a | [bc]*a[bc]*a[bc]* | (?:ab)+ | (?:a|b)c{1,3} | a|b|c
(a|aa|aaa){2} | [ac]{2}b[ac]{2} | c(a|b)*c | (b|)a | (a+|b+)c | .*a | b.* | a.c | .{2,3} | (a.b)+
(ab?)+
""".replace("\n", " | ")
REGEX = [pattern.strip() for pattern in PATTERNS.split(" | ") if pattern.strip()]


def signal(text: str) -> sf.Signal:
    return sf.Signal(codes_of(text))


@pytest.fixture(scope="module")
def abc() -> TokenPrior:
    """A chain of order two over three letters."""
    generator = np.random.default_rng(0)
    text = generator.choice(3, size=400, p=[0.5, 0.3, 0.2])
    text[::3] = text[1::3][: len(text[::3])] if len(text[1::3]) >= len(text[::3]) else 0
    counts = Counts.of(NGrams(text.astype(np.int64), ALPHABET, Discounts.start(2)))
    return TokenPrior.of(
        [Expert("counts", counts, counts.options)], Absorbing(3), Characters(tuple(ALPHABET)),
        plugin="text",
    )  # fmt: skip


def test_there_are_fifty_patterns() -> None:
    assert len(REGEX) >= 50


@pytest.mark.parametrize("pattern", REGEX)
def test_every_sample_matches_the_pattern(abc: TokenPrior, pattern: str) -> None:
    length = next(
        k for k in range(7, 0, -1)
        if any(re.fullmatch(pattern, "".join(row)) for row in product(ALPHABET, repeat=k))
    )  # fmt: skip
    damaged = signal(f"ab[{'.' * length}]ca")
    result = sf.reconstruct(abc, Constrain(pattern=pattern), damaged, n=8)
    for text in (result.estimate, *result.samples):
        found = text_of(text)
        assert found.startswith("ab")
        assert found.endswith("ca")
        assert re.fullmatch(pattern, found[2:-2])


def test_samples_are_drawn_from_the_prior_given_the_pattern(abc: TokenPrior) -> None:
    """Shares of 2,000 draws against the enumerated posterior, by χ²."""
    pattern, before, after = "(a|bc)*a.?", "ab", "ca"
    chain = chain_of(abc.denoiser)
    assert chain is not None
    allowed = [
        "".join(row) for row in product(ALPHABET, repeat=4) if re.fullmatch(pattern, "".join(row))
    ]
    rows = [abc.codec.encode(before + text + after).numpy() for text in allowed]
    exact = torch.tensor([float(r.sum()) for r in walk(chain, rows)]).softmax(dim=0)
    n = 2000
    result = sf.reconstruct(abc, Constrain(pattern=pattern), signal("ab[....]ca"), n=n)
    drawn = [text_of(x)[2:-2] for x in result.samples]
    observed = torch.tensor([drawn.count(text) for text in allowed], dtype=torch.float64)
    assert int(observed.sum()) == n
    expected = n * exact
    common = expected >= 5
    chi2 = float(((observed - expected)[common] ** 2 / expected[common]).sum())
    freedom = int(common.sum()) - 1
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def test_all_rules_hold_together(small_prior: TokenPrior) -> None:
    task = Constrain(
        pattern="[a-z ]*", keyword=("is",), once=("method",), never=("the",), starts="a ",
        ends="d", length="14-17", longest=20,
    )  # fmt: skip
    result = sf.reconstruct(small_prior, task, signal("the value of [---]."), n=6)
    for x in result.samples:
        text = text_of(x)[len("the value of ") : -1]
        assert re.fullmatch("[a-z ]*", text)
        assert text.count("method") == 1
        assert "is" in text
        assert "the" not in text.replace("method", "")
        assert text.startswith("a ")
        assert text.endswith("d")
        assert 14 <= len(text) <= 17


def test_rules_hold_in_every_gap_of_known_length(abc: TokenPrior) -> None:
    result = sf.reconstruct(abc, Constrain(pattern="(ab|c)*"), signal("a[...]b[....]c"), n=8)
    for x in result.samples:
        text = text_of(x)
        assert re.fullmatch("(ab|c)*", text[1:4])
        assert re.fullmatch("(ab|c)*", text[5:9])


def test_one_word_may_be_given_as_such() -> None:
    assert Constrain(keyword="bread").keyword == ("bread",)  # type: ignore[arg-type]


EMPTY = {
    "length that no text has": (Constrain(pattern="(aa)+"), "b[...]c"),
    "second gap": (Constrain(pattern="(aa)+"), "b[..]c[...]c"),
    "pattern against word": (Constrain(pattern="[ab]*", keyword=("c",)), "b[---]c"),
    "word that must and must not": (Constrain(keyword=("ab",), never=("b",)), "b[---]c"),
    "length against pattern": (Constrain(pattern="a{9}", length="3-4"), "b[---]c"),
    "start against end": (Constrain(starts="aaa", ends="bbb", length="4"), "b[---]c"),
}


@pytest.mark.parametrize("case", EMPTY)
def test_rules_that_nothing_obeys_are_refused_before_sampling(abc: TokenPrior, case: str) -> None:
    task, damaged = EMPTY[case]
    with pytest.raises((ImpossibleError, InvalidOptionError)):
        task.pose(signal(damaged), abc)


def test_a_pattern_that_is_none_is_refused_with_its_position(abc: TokenPrior) -> None:
    with pytest.raises(SfumatoError, match=r"position \d+|at \d+"):
        Constrain(pattern="(ab").pose(signal("a[..]b"), abc)


@pytest.mark.parametrize(
    "options", [{}, {"length": "x"}, {"length": "5-2-1"}, {"keyword": ("",)}], ids=str
)
def test_rules_that_are_none_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        Constrain(**options)  # type: ignore[arg-type]


def test_what_was_read_stays(abc: TokenPrior, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc[..]\r\ncab\r\n".replace(b"\r\n", b""))
    result = sf.reconstruct(abc, Constrain(ends="b"), sf.load_plugin("text").read(path), n=1)
    result.save(tmp_path / "out")
    assert re.fullmatch(r"abc\[[abc]b\]cab", (tmp_path / "out" / "restored.txt").read_text())
