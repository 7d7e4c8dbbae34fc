"""The demonstration: a page of held-out text, damaged in three ways and put right, and a new one.

Proverbs 21:16–23 belong to the blocks of verses that the shipped prior was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sfumato.api import reconstruct
from sfumato.cli.answers import progress as bar
from sfumato.evaluation.passages import Passage, Run, token_section
from sfumato.evaluation.report import Section, write_report
from sfumato.evaluation.scores import score_tokens
from sfumato.inverse.tokens.tasks import TokenTask
from sfumato.priors import Prior
from sfumato.signals import Signal
from sfumato_text import PLUGIN
from sfumato_text.files.documents import codes_of
from sfumato_text.operators import Constrain, Fill, Restore

__all__ = ["TEXT", "run"]

TEXT = """\
The man that wandereth out of the way of understanding shall remain in the congregation of the dead.
He that loveth pleasure shall be a poor man: he that loveth wine and oil shall not be rich.
The wicked shall be a ransom for the righteous, and the transgressor for the upright.
It is better to dwell in the wilderness, than with a contentious and an angry woman.
There is treasure to be desired and oil in the dwelling of the wise; but a foolish man spendeth it up.
He that followeth after righteousness and mercy findeth life, righteousness, and honour.
A wise man scaleth the city of the mighty, and casteth down the strength of the confidence thereof.
Whoso keepeth his mouth and his tongue keepeth his soul from troubles.
"""  # noqa: E501 - verses as they are
"""Verses of the King James Version, one a line."""

LOST = (("derstanding", "[.11.]"), ("wine", "[....]"), ("right", "[.5.]"), ("tongue", "[......]"))
"""What the first scene loses, and how an epigrapher writes it."""

TORN = (("wilderness", "[---]"), ("mighty", "[---]"))
"""What the second scene loses, of unknown length."""

MISREAD = Restore(channel="ocr", foreign="noise")
RULED = "And the LORD said unto Moses, [---]\n"
RULE = Constrain(keyword=("bread",), ends=".", length="30-44", longest=44)


@dataclass(frozen=True)
class Scene:
    """One story of the report.

    Args:
        name: Folder.
        title: Heading.
        task: What undoes the damage.
        damaged: The input.
        truth: What it was; empty where there is none.
    """

    name: str
    title: str
    task: TokenTask
    damaged: str
    truth: str = TEXT


def scenes(seed: int) -> tuple[Scene, ...]:
    """The four stories."""
    noise = Restore(channel="ocr", rate=0.1).degrade(Signal(codes_of(TEXT)), seed=seed)
    noisy = "".join(map(chr, noise.data.tolist()))
    return (
        Scene("fill", "Gaps of known length filled", Fill(), without(TEXT, LOST)),
        Scene("torn", "Gaps of unknown length filled", Fill(), without(TEXT, TORN)),
        Scene("restore", "One character in ten misread, corrected", MISREAD, noisy),
        Scene(
            "constrain", "Written under rules: 30 to 44 characters, about bread", RULE, RULED, ""
        ),
    )


def without(text: str, lost: tuple[tuple[str, str], ...]) -> str:
    """The text with the first occurrence of each of some words replaced by a sign."""
    for words, sign in lost:
        text = text.replace(words, sign, 1)
    return text


def run(
    folder: str | Path, *, seed: int = 0, progress: bool = False, prior: Prior | None = None
) -> Path:
    """Restores damaged text and writes ``report.html``.

    Args:
        folder: Where to; each scene gets a folder with its input, result and samples.
        seed: Of all randomness.
        progress: Whether to show progress bars.
        prior: A prior over characters; the shipped one if not given.

    Returns:
        Path of the report.
    """
    folder = Path(folder)
    prior = prior or PLUGIN.prior()
    sections = [scene_section(prior, scene, folder, seed, progress) for scene in scenes(seed)]
    return write_report(folder / "report.html", sections, title="sfumato: a page put right")


def scene_section(prior: Prior, scene: Scene, folder: Path, seed: int, show: bool) -> Section:
    path = PLUGIN.write(Signal(codes_of(scene.damaged)), folder / scene.name / "input.txt")
    damaged = PLUGIN.read(path)
    with bar(scene.title, show=show) as advance:
        result = reconstruct(
            prior, scene.task, damaged, n=4, seed=seed, callback=lambda share, _: advance(share)
        )
    result.save(folder / scene.name, overwrite=True)
    if not scene.truth:
        return token_section(result, title=scene.title)
    truth = Signal(codes_of(scene.truth))
    PLUGIN.write(truth, folder / scene.name / "truth.txt")
    table = score_tokens(result, truth).table()
    section = token_section(result, title=scene.title, scores=table)
    last = Passage("Truth", (Run(scene.truth),))
    return replace(section, passages=(*section.passages, last))
