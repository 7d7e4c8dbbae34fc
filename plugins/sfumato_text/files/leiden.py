"""Leiden signs (see ``sfumato_text.files.notations``)."""

from __future__ import annotations

import re
import unicodedata

from sfumato_text.files.signs import Reading

__all__ = ["leiden"]

DOT_BELOW = "\u0323"
ABOUT = r"(?:c\.|ca\.|circa|±|~)\s*"
COUNT = re.compile(
    rf"[.…·\s-]*(?P<about>{ABOUT})?(?P<low>\d+)(?:\s*[-–]\s*(?P<high>\d+))?[.…·\s-]*"
)
DASHES = re.compile(r"[-–—](?:\s*[-–—])+|—")
LONE_DASH = re.compile(r"\s*[-–]\s*")
OTHER = re.compile(r"[-–]|[^.…·–—-]+")
PLAIN = re.compile(r"[^\[\]⟦⟧]*")
DOTS = re.compile(r"[.…·](?:\s?[.…·])*")


def leiden(reading: Reading) -> None:
    """Reads Leiden signs."""
    text, place = reading.document.text, 0
    closing = {"[": "]", "⟦": "⟧"}
    opened: list[int] = []
    while place < len(text):
        sign = text[place]
        if sign in closing:
            if any(text[at] == sign for at in opened):
                raise reading.refuse(place, f"'{sign}' inside '{sign}'", "close the first one")
            opened.append(place)
            reading.mark(place)
            inside = PLAIN.match(text, place + 1)
            assert inside is not None
            bracket(reading, *inside.span())
            place = inside.end()
        elif sign in closing.values():
            if not opened or closing[text[opened[-1]]] != sign:
                raise reading.refuse(place, f"'{sign}' closes nothing", "open it or take it out")
            opened.pop()
            reading.mark(place)
            place += 1
            inside = PLAIN.match(text, place)
            assert inside is not None
            (bracket if opened else letters)(reading, *inside.span())
            place = inside.end()
        else:
            stop = PLAIN.match(text, place)
            assert stop is not None
            letters(reading, *stop.span())
            place = stop.end()
    if opened:
        sign = text[opened[-1]]
        raise reading.refuse(opened[-1], f"'{sign}' is never closed", f"add '{closing[sign]}'")


def bracket(reading: Reading, start: int, end: int) -> None:
    """Reads what stands between brackets."""
    text = reading.document.text
    before, after = text[start - 1 : start], text[end : end + 1]
    if start == end:
        if before + after in ("[]", "⟦⟧"):
            raise reading.refuse(
                start - 1, f"'{before}{after}' says nothing", "write a dot for every lost character"
            )
        return
    body = text[start:end]
    count = COUNT.fullmatch(body)
    if count and (count["about"] or count["high"] or not body.strip().isdigit()):
        low, high = int(count["low"]), int(count["high"] or count["low"])
        if count["about"] and not count["high"]:
            slack = max(1, -(-low // 3))
            low, high = max(1, low - slack), high + slack
        if not 1 <= low <= high:
            raise reading.refuse(start, f"'{body}' is no length", "write it as 5 or 5-7, from 1")
        reading.lose(start, end, low, high)
        return
    if re.fullmatch(rf"\s*{ABOUT}\W*", body):
        raise reading.refuse(start, f"'{body}' has no number", "write it as [c. 5]")
    if LONE_DASH.fullmatch(body):
        reading.lose(start, end, 1, None)
        return
    place = start
    while place < end:
        dots, dashes = DOTS.match(text, place, end), DASHES.match(text, place, end)
        if dots:
            number = sum(3 if c == "…" else 1 for c in dots[0] if not c.isspace())
            reading.lose(place, dots.end(), number, number)
            place = dots.end()
        elif dashes:
            reading.lose(place, dashes.end(), 1, None)
            place = dashes.end()
        else:
            stop = OTHER.match(text, place, end)
            assert stop is not None
            letters(reading, *stop.span())
            place = stop.end()


def letters(reading: Reading, start: int, end: int) -> None:
    """Reads letters; those with a dot below are hard to read."""
    text = reading.document.text
    for place in range(start, end):
        letter = unicodedata.normalize("NFD", text[place])
        if letter == DOT_BELOW and reading.text:
            reading.unclear.append(len(reading.text) - 1)
            reading.wide[len(reading.text) - 1] = place
            continue
        reading.keep(place, place + 1)
        if DOT_BELOW in letter and len(letter) > 1:
            plain = unicodedata.normalize("NFC", letter.replace(DOT_BELOW, ""))
            reading.text[-1] = plain if len(plain) == 1 else text[place]
            reading.unclear.append(len(reading.text) - 1)
