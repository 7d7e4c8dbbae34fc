"""Rows of ``restoration.py``: kept in its result file as they come, and summed up for the tables.

A row belongs to a task, a picture, a method, a prior (its hash), a number of samples and a size;
where all are the same it is not measured twice. Rows of classical methods hold for every prior.
Rows of other circumstances stay in the file, but the tables are of the last run's.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from classical import CLASSICAL, REFERENCES
from degradations import TASKS

__all__ = ["COLUMNS", "Records", "shown"]

Row = dict[str, Any]
COLUMNS = {
    "problem": "Task", "set": "Pictures", "images": "Number", "library": "Library",
    "solver": "Method", "settings": "Settings", "psnr": "PSNR of the mean, dB",
    "psnr1": "PSNR of one sample, dB", "gain": "Over the baseline, dB", "ssim": "SSIM of the mean",
    "ssim1": "SSIM of one sample", "cov90": "90 % interval covers", "corr": "Spread–error corr.",
    "chi2": "χ²", "nfe": "Network per sample", "cpu": "CPU seconds",
}  # fmt: skip
FORMATS = {
    **dict.fromkeys(("psnr", "psnr1", "gain", "chi2"), ".2f"),
    **dict.fromkeys(("ssim", "ssim1", "cov90", "corr"), ".3f"),
    "nfe": ".0f",
    "cpu": ".1f",
}
MEANS = ("psnr", "psnr1", "gain", "ssim", "ssim1", "cov90", "corr", "chi2")


class Records:
    """The rows of a result file.

    Args:
        path: The file; what it holds is kept.
        command: What made it.
        prior: Hash of the prior.
        n: Samples per picture.
        size: Side of the crops.
    """

    def __init__(self, path: Path, command: str, prior: str, n: int, size: int) -> None:
        self.path, self.command, self.n, self.size = path, command, n, size
        self.prior = prior
        found = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
        self.runs = {identity(row): row for row in found if self.current(row)}
        self.others = [row for row in found if not self.current(row)]

    def current(self, row: Mapping[str, Any]) -> bool:
        """Whether a row was measured under the same circumstances."""
        same = row["prior"] == self.prior and row["n"] == self.n
        return row["size"] == self.size and (same or row["method"] in CLASSICAL)

    def has(self, key: Mapping[str, str]) -> bool:
        """Whether this was measured."""
        return identity(key) in self.runs

    def add(self, row: Row) -> None:
        """Keeps a row and writes the file."""
        row = row | {"prior": self.prior, "n": self.n, "size": self.size}
        self.runs[identity(row)] = row
        self.save()

    def join(self, files: Sequence[Path]) -> None:
        """Takes the rows of other result files that were measured under the same circumstances."""
        for path in files:
            for row in json.loads(path.read_text(encoding="utf-8"))["runs"]:
                if self.current(row):
                    self.runs[identity(row)] = row
        self.save()

    def save(self) -> None:
        """Writes the file, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.report(), indent=1, ensure_ascii=False, allow_nan=False)
        part = self.path.with_suffix(".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.path)

    def report(self) -> dict[str, Any]:
        """What the file holds."""
        runs = [finite(row) for row in self.runs.values()]
        return {
            "command": self.command,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread, "
            f"torch {torch.__version__}",
            "columns": COLUMNS,
            "formats": FORMATS,
            "note": f"Central crops of {self.size}² pixels, {self.n} samples, mean ± standard "
            "error over pictures; results are clipped to [0, 1] and known pixels put back for "
            "every method. Classical methods take the setting that is best for each picture, "
            "chosen with the truth. The baseline is, picture by picture, the best of "
            + "; ".join(f"{', '.join(names)} ({kind})" for kind, names in REFERENCES.items())
            + ". deepinv's and diffusers' methods and the single evaluation use the same network; "
            "diffusers has no method for the other tasks that takes one. CPU seconds are for all "
            "samples of a picture, where they were drawn on a CPU. Coverage and correlation leave "
            "out known pixels.",
            "rows": summed(runs),
            "runs": runs + self.others,
        }


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["task"], row["image"], row["method"]


def finite(row: Row) -> Row:
    """NaN and infinity as null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def summed(runs: Sequence[Row]) -> list[Row]:
    """One row per task, set of pictures and method: means with standard errors."""
    best: dict[tuple[str, str], float] = {}
    for row in runs:
        if row["method"] in REFERENCES[TASKS[row["task"]].kind]:
            key = row["task"], row["image"]
            best[key] = max(best.get(key, -math.inf), row["psnr"])
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in runs:
        key = row["task"], row["image"]
        gain = {"gain": row["psnr"] - best[key]} if key in best else {}
        groups.setdefault((row["task"], row["set"], row["method"]), []).append(row | gain)
    order = list(TASKS)
    keys = sorted(groups, key=lambda key: (order.index(key[0]), key[1] == "CBSD68"))
    return [total(task, group, groups[task, group, method]) for task, group, method in keys]


def total(task: str, group: str, rows: Sequence[Row]) -> Row:
    """The means of one method."""
    settings = {row["settings"] for row in rows}
    timed = [row["cpu"] for row in rows if row["cpu"] is not None]
    return {
        "problem": TASKS[task].label,
        "set": group,
        "images": len(rows),
        "library": rows[0]["library"],
        "solver": rows[0]["solver"],
        "settings": settings.pop() if len(settings) == 1 else "best for each picture",
        **{key: mean(rows, key) for key in MEANS},
        "nfe": rows[0]["nfe"],
        "cpu": statistics.fmean(timed) if timed else None,
    }


def mean(rows: Sequence[Row], key: str) -> list[float] | float | None:
    """Mean and standard error; the value alone if there is one row."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if len(values) < 2:
        return values[0] if values else None
    return [statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))]


def shown(script: str, words: Sequence[str]) -> str:
    """The command as a reader would type it: files by their names."""
    return " ".join(["python", script, *(Path(word).name for word in words)])
