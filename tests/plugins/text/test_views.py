"""Restorations as people see them."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from sfumato_text.files.changes import Change
from sfumato_text.files.documents import Document, Gap
from sfumato_text.files.restorations import Restoration
from sfumato_text.views import colour, html_of, marked

DOCUMENT = Document("a<b c4t", (Gap(4, 2, 2),))
DONE = Restoration(
    DOCUMENT,
    (
        Change(4, 4, "&y", (0.9, 0.3), (("xx", 0.2),), gap=0),
        Change(5, 6, "a", (0.8,)),
        Change(6, 7, ""),
    ),
)


class Seen(HTMLParser):
    """The text of a page, and its tooltips."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.titles, self.hidden = "", list[str](), 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag == "del"
        self.titles += [value or "" for key, value in attrs if key == "title"]

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "del"

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


def test_the_page_shows_the_restored_text_and_what_was_there() -> None:
    seen = Seen(html_of(DONE))
    assert seen.text == DONE.text == "a<b &yca"
    assert seen.titles == [
        "gap\nleast certain character: 30 %\nor 'xx': 20 %",
        "was '4'\nleast certain character: 80 %",
        "was 't'",
    ]


@given(st.text(max_size=20), st.text(max_size=5))
def test_any_text_is_shown_as_it_is(text: str, new: str) -> None:
    text, new = (t.replace("\r", "").replace("\0", "") for t in (text, new))
    done = Restoration(Document(text), (Change(0, len(text), new),))
    assert Seen(html_of(done)).text == new


def test_certain_characters_are_green_and_others_red() -> None:
    assert colour(1.0).startswith("hsl(130 ")
    assert colour(0.0).startswith("hsl(8 ")
    assert colour(None) == "#ddd"


def test_plain_text_marks_fillings_corrections_and_doubts() -> None:
    assert marked(DONE) == "a<b [&y?]c⟨a⟩⟨⟩"
    assert marked(DONE, doubtful=0.2) == "a<b [&y]c⟨a⟩⟨⟩"
