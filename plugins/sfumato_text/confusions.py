"""Which characters are taken for which: keys side by side, letters that look alike.

The groups are hand-made. They say what an error may look like where nothing has been counted yet;
``sfumato_text.estimation`` counts.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KEYBOARD", "LOOK_ALIKES"]

ROWS = ("`1234567890-=", " qwertyuiop[]\\", " asdfghjkl;'", " zxcvbnm,./")
SHIFTED = ("~!@#$%^&*()_+", " QWERTYUIOP{}|", ' ASDFGHJKL:"', " ZXCVBNM<>?")
SHIFT = 0.1
"""Share of slips that are a shift too much or too little."""

LISTED = 0.9
"""Share of errors that go to what is listed; the rest may be anything."""

ALIKE = """
    ce eo oc ao ae ec bh bd hn nu un ri rt tf ft fl li ij il lt 1l 1I Il iI l! I! 0O oO oQ OQ OC
    CG GC 5S S8 8B B3 3B 6b 9g gq qg q9 vy yv vw uv vu VY UV MN NM nm mn EF FE PR RP KX XK PF
    DO QO Z2 z2 7T 1T TI rn sa as se ea xz zx ., ,. ;: :; ;, '` '" -~ -_ ~- ({ [( )] }) Ll Tf
    hb dc cl hk kh ir it Jd s5 sS cC oO vV wW xX zZ kK pP uU
"""
"""Pairs: the first is read as the second. Those said twice are twice as likely."""


def keyboard() -> dict[str, dict[str, float]]:
    """Neighbours on an American keyboard, each row shifted by half a key against the one above."""
    found: dict[str, dict[str, float]] = {}
    for board, other in ((ROWS, SHIFTED), (SHIFTED, ROWS)):
        at = {
            sign: (y, x + 0.5 * y)
            for y, row in enumerate(board)
            for x, sign in enumerate(row)
            if sign != " "
        }
        for sign, (y, x) in at.items():
            near = [c for c, (v, u) in at.items() if c != sign and abs(v - y) <= 1
                    and abs(u - x) <= 1]  # fmt: skip
            row = {c: (1 - SHIFT) * LISTED / len(near) for c in near}
            twin = other[y][board[y].index(sign)]
            found[sign] = {**row, twin: SHIFT * LISTED}
    return found


def look_alikes() -> dict[str, dict[str, float]]:
    """Pairs as shares; what is read as something is also taken for it, half as often."""
    counts: dict[str, dict[str, float]] = {}
    for pair in ALIKE.split():
        first, second = pair[0], pair[1]
        for x, y, weight in ((first, second, 1.0), (second, first, 0.5)):
            row = counts.setdefault(x, {})
            row[y] = row.get(y, 0.0) + weight
    return {
        x: {y: LISTED * n / sum(row.values()) for y, n in row.items()} for x, row in counts.items()
    }


KEYBOARD: Mapping[str, Mapping[str, float]] = keyboard()
LOOK_ALIKES: Mapping[str, Mapping[str, float]] = look_alikes()
