"""What happened during a run: ``metrics.jsonl``, and a tracker of accelerate.

Every line of the file is a JSON object with a step count. A resumed run takes back the lines after
its checkpoint, since it is going to write them again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato import files
from sfumato.errors import UnwritableFileError
from sfumato.training.configs import TrainConfig
from sfumato.training.loops import Step

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Journal"]


@dataclass
class Journal:
    """Writes ``metrics.jsonl`` and tells the tracker."""

    folder: Path
    config: TrainConfig
    accelerator: Accelerator
    tracker: str
    recent: list[Step] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    started: bool = False

    def start(self, step: int) -> None:
        """Opens the tracker, and forgets lines that a resumed run is going to write again."""
        self.started = True
        path = self.folder / "metrics.jsonl"
        if self.accelerator.is_main_process and path.exists():
            kept = [line for line in path.read_text().splitlines() if written_by(line) <= step]
            with files.atomic_file(path) as target:
                target.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        if self.tracker:
            scalars = {
                name: value
                for name, value in self.config.as_dict().items()
                if isinstance(value, int | float | str)
            }
            self.accelerator.init_trackers("sfumato", config=scalars)

    def log(self, step: Step) -> None:
        """Notes a step; every ``log_every`` steps their means are written."""
        if not self.started:
            self.start(step.index)
        self.recent.append(step)
        done = step.index + 1
        if done % self.config.log_every == 0 or done == self.config.steps:
            count = len(self.recent)
            means = {
                name: sum(getattr(one, name) for one in self.recent) / count
                for name in ("loss", "lr", "grad_norm", "seconds")
            }
            self.write(done, means)
            self.recent = []

    def write(self, done: int, values: dict[str, float]) -> None:
        """Notes values after ``done`` steps."""
        if not values:
            return
        self.lines.append(json.dumps({"step": done, **values}))
        if self.tracker:
            self.accelerator.log(values, step=done)
        if len(self.lines) >= 100 or "validation_loss" in values:
            self.flush()

    def flush(self) -> None:
        """Appends what has been noted to the file."""
        if self.accelerator.is_main_process and self.lines:
            path = self.folder / "metrics.jsonl"
            try:
                with path.open("a", encoding="utf-8") as stream:
                    stream.write("".join(line + "\n" for line in self.lines))
            except OSError as error:
                raise UnwritableFileError(path, error.strerror or str(error)) from error
        self.lines = []

    def close(self) -> None:
        """Ends the file and the tracker."""
        self.flush()
        for one in self.accelerator.trackers if self.started and self.tracker else ():
            one.finish()


def written_by(line: str) -> float:
    """The step of a line; infinite for one that was cut off by a kill."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
