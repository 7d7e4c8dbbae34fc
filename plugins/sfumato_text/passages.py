"""Texts as a report shows them: what was restored, and how surely."""

from __future__ import annotations

import itertools

from torch import Tensor

from sfumato.evaluation.passages import Passage, Run
from sfumato.token_results import TokenResult
from sfumato_text.files.documents import LOST, OPEN, text_of

__all__ = ["passages", "words"]

LONGEST = 6000
"""Characters of a passage that are shown."""

SIGNS = {LOST: "·", OPEN: "…"}


def words(data: Tensor) -> str:
    """One reading; lost characters are dots, line ends are shown as ⏎."""
    return written(data).replace("\n", "⏎")


def passages(result: TokenResult) -> tuple[Passage, ...]:
    """The restored text coloured by certainty, the input, and two samples."""
    found = [Passage("Restored text", estimate_runs(result))]
    if result.source is not None:
        found.append(Passage("Input", (Run(shortened(written(result.source.data))),)))
    for index, sample in enumerate(result.samples[:2], start=1):
        if len(sample) <= LONGEST:
            found.append(Passage(f"Sample {index}", (Run(text_of(sample)),)))
    return tuple(found)


def estimate_runs(result: TokenResult) -> tuple[Run, ...]:
    """The estimate in runs of one certainty each; kept characters that are doubtful count too."""
    text = text_of(result.estimate)
    rows = list(zip(text, result.confidence.tolist(), result.altered.tolist(), strict=True))
    runs: list[Run] = []
    for state, group in itertools.groupby(rows[:LONGEST], key=state_of):
        letters = list(group)
        shown = "".join(sign for sign, _, _ in letters)
        if state is None:
            runs.append(Run(shown))
            continue
        sure = min(p for _, p, _ in letters)
        verb = "restored" if letters[0][2] else "kept"
        runs.append(Run(shown, sure, f"{verb}; {100 * sure:.0f} % sure"))
    if len(rows) > LONGEST:
        runs.append(Run(f"… and {len(rows) - LONGEST} more characters"))
    return tuple(runs)


def state_of(row: tuple[str, float, bool]) -> tuple[str, bool] | None:
    """What characters must share to be shown as one run; ``None`` for what is not in doubt."""
    _, sure, altered = row
    if not altered and sure >= 0.9:
        return None
    return Run("", sure).grade, altered


def written(data: Tensor) -> str:
    return "".join(SIGNS.get(code, "") if code < 0 else chr(code) for code in data.tolist())


def shortened(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… and {len(text) - LONGEST} more characters"
