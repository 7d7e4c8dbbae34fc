"""Tokenisers: texts come back, tokens know their characters, nothing in a text is special."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import CheckpointError, InvalidOptionError, UnknownNameError
from sfumato_text.alphabets import alphabet_of, clusters, stand_in
from sfumato_text.tokenisers import Bytes, Characters, Pretrained, Subwords, Tokeniser, from_dict

CORPUS = "In the beginning God created the heaven and the earth.\nAnd the earth was void. " * 20
SUBWORDS = Subwords.train(CORPUS, size=300)
UNICODE = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's tokeniser as transformers saves it, with special and with added tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[MASK]", "the", "cat", "sat", "mask", "<", ">", "[", "]", "."]
    words += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"] + list("abcdefghijklmnopqrstuvwxyz")
    inner = Tokenizer(models.WordPiece({w: k for k, w in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]", mask_token="<mask>"
    )
    path = tmp_path_factory.mktemp("tokeniser")
    made.save_pretrained(path)
    return path


def test_graphemes_keep_their_marks() -> None:
    text = "e\u0301a👩\u200d👧🇩🇪🇫🇷👍🏽\r\n각"
    text = text[:-1] + unicodedata.normalize("NFD", "각")
    found = [text[a:b] for a, b in clusters(text)]
    assert found == [
        "e\u0301", "a", "👩\u200d👧", "🇩🇪", "🇫🇷", "👍🏽", "\r\n", unicodedata.normalize("NFD", "각")
    ]  # fmt: skip


@given(UNICODE)
def test_graphemes_cover_the_text(text: str) -> None:
    assert "".join(text[a:b] for a, b in clusters(text)) == text


def test_an_alphabet_counts_composed_and_decomposed_letters_alike() -> None:
    assert alphabet_of("é e\u0301 x", minimum=2) == (" ", "é")


@given(UNICODE)
def test_characters_with_fallback_write_any_text(text: str) -> None:
    tokeniser = Characters.from_text(CORPUS + "é", fallback=True)
    found = tokeniser.read(text)
    assert unicodedata.normalize("NFC", tokeniser.decode(found.ids)) == unicodedata.normalize(
        "NFC", text
    )
    assert tokeniser.rewrite(found, found.ids) == text


@given(UNICODE)
def test_bytes_write_any_text(text: str) -> None:
    assert Bytes().decode(Bytes().encode(text)) == text
    assert Bytes().rewrite(Bytes().read(text), Bytes().encode(text)) == text


@given(UNICODE)
def test_subwords_write_any_text(text: str) -> None:
    found = SUBWORDS.read(text)
    assert SUBWORDS.decode(found.ids) == text
    assert SUBWORDS.rewrite(found, found.ids) == text


def test_subwords_are_longer_than_characters() -> None:
    assert 256 < SUBWORDS.tokens <= 300
    assert len(SUBWORDS.encode(CORPUS)) < 0.6 * len(CORPUS)
    assert "".join(SUBWORDS.pieces[k] for k in SUBWORDS.encode("the earth")) == "the earth"


@given(st.text("abcé ", max_size=20), st.data())
def test_only_replaced_tokens_change_the_text(text: str, data: st.DataObject) -> None:
    text = unicodedata.normalize("NFD", text)
    tokeniser = Characters(("a", "b", "c", "é", " "))
    found = tokeniser.read(text)
    ids = found.ids.clone()
    if len(ids) == 0:
        return
    place = data.draw(st.integers(0, len(ids) - 1))
    ids[place] = (ids[place] + 1) % 5
    start, end = found.spans[place]
    expected = text[:start] + tokeniser.alphabet[int(ids[place])] + text[end:]
    assert tokeniser.rewrite(found, ids) == expected


def test_a_replaced_token_beside_shared_characters_replaces_all_of_them() -> None:
    tokeniser = Characters(("a", "b"), fallback=True)
    found = tokeniser.read("aßb")
    assert found.spans.tolist() == [[0, 1], [1, 2], [1, 2], [2, 3]]
    ids = found.ids.clone()
    ids[1:3] = torch.tensor([2 + byte for byte in "é".encode()])
    assert tokeniser.rewrite(found, ids) == "aéb"


def test_characters_that_the_alphabet_lacks_are_named_with_their_places() -> None:
    tokeniser = Characters.from_text("abc \n")
    with pytest.raises(InvalidOptionError) as caught:
        tokeniser.encode("ab\nß a ßé")
    said = str(caught.value)
    assert "3 of its characters" in said
    assert "'ß' (U+00DF) at line 2, column 1" in said
    assert "'é' (U+00E9) at line 2, column 6" in said
    assert "fallback" in said


def test_nearest_signs_stand_in_and_the_text_comes_back() -> None:
    tokeniser = Characters(tuple("abcdefgostuvxyz .\"'AE-"), foreign="nearest")
    text = "\u201cÆsé\u2026Z\u201d"
    found = tokeniser.read(text)
    assert tokeniser.decode(found.ids) == '"AEse...z"'
    assert tokeniser.rewrite(found, found.ids) == text
    with pytest.raises(InvalidOptionError, match="U\\+05D0"):
        tokeniser.encode("\u05d0")


def test_a_stand_in_is_found_by_decomposing_spelling_or_case() -> None:
    known = frozenset("aeos")
    assert [stand_in(sign, known) for sign in ("á", "œ", "S", "ß", "ж")] == [
        "a", "oe", "s", "ss", None
    ]  # fmt: skip


def kinds(folder: Path) -> list[Tokeniser]:
    characters = Characters.from_text(CORPUS + "<mask>[MASK]", fallback=True)
    return [characters, Bytes(), SUBWORDS, Pretrained.load(folder)]


def test_every_tokeniser_survives_json(folder: Path) -> None:
    for tokeniser in kinds(folder):
        again = from_dict(json.loads(json.dumps(tokeniser.to_dict())))
        text = "the cat sat <mask>."
        assert type(again) is type(tokeniser)
        assert again.tokens == tokeniser.tokens == len(again.pieces)
        assert again.forbidden == tokeniser.forbidden
        assert torch.equal(again.encode(text), tokeniser.encode(text))


@pytest.mark.parametrize("text", ["the <mask> sat", "[MASK]", "a [PAD] <mask><mask>"])
def test_special_tokens_in_a_text_are_text(folder: Path, text: str) -> None:
    for tokeniser in kinds(folder):
        found = tokeniser.read(text)
        assert not set(found.ids.tolist()) & set(tokeniser.forbidden)
        assert len(found.ids) > 1
        assert tokeniser.rewrite(found, found.ids) == text


def test_a_pretrained_tokeniser_counts_its_added_mask(folder: Path) -> None:
    tokeniser = Pretrained.load(folder)
    assert tokeniser.mask == tokeniser.tokens - 1  # <mask> was added after the vocabulary
    assert tokeniser.mask in tokeniser.forbidden


def test_what_a_pretrained_tokeniser_lowers_comes_back_as_it_was(folder: Path) -> None:
    tokeniser = Pretrained.load(folder)
    found = tokeniser.read("The  CÁT sat.")
    assert tokeniser.rewrite(found, found.ids) == "The  CÁT sat."
    ids = found.ids.clone()
    ids[2] = int(tokeniser.encode("mask")[0])
    assert tokeniser.rewrite(found, ids) == "The  CÁT mask."


def test_a_pretrained_tokeniser_refuses_what_it_cannot_write(folder: Path) -> None:
    with pytest.raises(InvalidOptionError, match="line 1, column 5"):
        Pretrained.load(folder).encode("the 漢 cat")


def test_a_model_with_other_tokens_is_refused(folder: Path) -> None:
    tokeniser = Pretrained.load(folder)
    tokeniser.check_rows(tokeniser.tokens, "model")
    tokeniser.check_rows(tokeniser.tokens + 64, "model", padded=True)
    for rows in (tokeniser.tokens - 1, tokeniser.tokens + 64):
        with pytest.raises(CheckpointError, match=f"{rows} tokens.*{tokeniser.tokens}"):
            tokeniser.check_rows(rows, "model")


def test_a_folder_without_a_tokeniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        Pretrained.load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="no tokeniser"):
        Pretrained.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"name": "letters"}, UnknownNameError),
        ({}, UnknownNameError),
        ({"name": "characters"}, CheckpointError),
        ({"name": "characters", "alphabet": ["a", "a"]}, CheckpointError),
        ({"name": "subwords", "state": {"broken": 1}}, CheckpointError),
    ],
)
def test_a_damaged_description_is_refused(
    values: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        from_dict(values)


def test_numbers_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="token 1: 2 is none"):
        Characters(("a", "b")).decode([0, 2])


def test_decoded_bytes_that_are_no_text_are_replaced() -> None:
    assert Bytes().decode([0x61, 0xC3, 0x62]) == "a\ufffdb"
    assert Characters(("a",), fallback=True).decode([0, 1 + 0xC3, 0]) == "a\ufffda"
