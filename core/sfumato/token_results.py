"""What a reconstruction of tokens returns: readings, how sure they are, and whether they fit.

The *estimate* is the reading with the fewest expected errors. Its *confidence* is the posterior
probability of each element, as the solver knows it, so elements given 0.9 should be right nine
times in ten. The *misfit* of a sample is the share of the observed elements that it explains as
noise; for draws from the true posterior it is distributed as the channel's own error rate, so
``misfit_band`` holds 99 % of it if the channel is as stated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfumato import files
from sfumato.errors import CheckpointError
from sfumato.inverse.tokens.tasks import Alternatives, Readings
from sfumato.registry import load_plugin
from sfumato.signals import Signal

__all__ = ["TokenResult"]

PADDING = -1
"""Fills short samples where several are stored in one array."""


@dataclass(frozen=True, eq=False)
class TokenResult:
    """Readings of a damaged signal, in physical units (code points, for text).

    Args:
        estimate: The reading with the fewest expected errors, ``[length]``.
        confidence: Posterior probability of each of its elements; 1 where it was observed.
        altered: Elements that are not those of the input.
        samples: Posterior samples; their lengths may differ.
        alternatives: Readings of the open places, best first, with their probabilities.
        misfit: Share of the observed elements that each sample explains as noise, ``[n]``; NaN
            where nothing was noisy.
        misfit_band: Interval that holds 99 % of that share if the channel is as stated.
        log_evidence: Sum over the parts of the estimates of ln p(y), in nats; NaN if unknown.
        effective: Smallest effective number of particles in any part; NaN without particles.
        nfe: Evaluations of the denoiser per sample.
        seconds: Wall time.
        record: What was run: solver, options, seed, versions, hashes, notes.
        trace: One row per step of the first part.
        signal: The estimate with the header of the input; ``None`` after ``load``.
        source: The input.
    """

    estimate: Tensor
    confidence: Float[Tensor, " length"]
    altered: Bool[Tensor, " length"]
    samples: tuple[Tensor, ...]
    alternatives: tuple[Alternatives, ...]
    misfit: Float[Tensor, " n"]
    misfit_band: tuple[float, float]
    log_evidence: float
    effective: float
    nfe: float
    seconds: float
    record: Mapping[str, Any] = field(default_factory=dict)
    trace: tuple[Mapping[str, float], ...] = ()
    signal: Signal | None = None
    source: Signal | None = None

    @classmethod
    def of(cls, found: Readings, **known: Any) -> TokenResult:
        """A result from the data that a task put together and what the run knows."""
        misfit = found.misfit
        if misfit is None:
            misfit = torch.full((len(found.samples),), math.nan)
        return cls(
            found.estimate, found.confidence, found.altered, found.samples, found.alternatives,
            misfit, found.misfit_band, signal=found.signal, **known,
        )  # fmt: skip

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.samples)

    @property
    def consistent(self) -> bool | None:
        """Whether the mean misfit lies in its band; ``None`` where nothing was noisy."""
        value = self.misfit.mean().item()
        low, high = self.misfit_band
        return None if math.isnan(value) else low <= value <= high

    @property
    def expected_errors(self) -> float:
        """How many elements of the estimate are wrong, as the posterior sees it."""
        return float((1 - self.confidence.double()).sum())

    def __repr__(self) -> str:
        changed = int(self.altered.sum())
        return (
            f"Result({self.n} samples of {len(self.estimate)} tokens, {changed} of them restored, "
            f"{self.expected_errors:.1f} errors expected, {self.nfe:g} evaluations, "
            f"{self.seconds:.1f} s)"
        )

    def summary(self) -> dict[str, Any]:
        """The numbers, as JSON values."""
        return {
            "samples": self.n,
            "length": len(self.estimate),
            "altered": int(self.altered.sum()),
            "expected_errors": round(self.expected_errors, 3),
            "misfit": finite(self.misfit.mean().item()),
            "misfit_band": [round(v, 5) for v in self.misfit_band],
            "consistent": self.consistent,
            "log_evidence": finite(self.log_evidence),
            "effective": finite(self.effective),
            "nfe": self.nfe,
            "seconds": round(self.seconds, 2),
            **dict(self.record),
        }

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the domain's own files, ``run.json`` and a self-contained ``report.html``.

        ``restored.*`` is the estimate in the format of the input, ``samples/`` holds each sample,
        ``readings.json`` the ranked alternatives and the probability of every element, and
        ``result.safetensors`` what ``TokenResult.load`` needs.

        Raises:
            OutputExistsError: If the folder is in use and ``overwrite`` is false.
        """
        from sfumato.evaluation.passages import token_section
        from sfumato.evaluation.report import write_report

        with files.atomic_folder(folder, overwrite=overwrite) as target:
            save_file(self.tensors(), target / "result.safetensors")
            facts = {**self.summary(), "trace": [dict(row) for row in self.trace]}
            write_json(target / "run.json", {**facts, "kind": "tokens"})
            write_json(target / "readings.json", self.readings())
            self.write_signals(target)
            section = token_section(self)
            write_report(target / "report.html", [section], record=dict(self.record))
        return Path(folder)

    def tensors(self) -> dict[str, Tensor]:
        longest = max((len(x) for x in self.samples), default=0)
        samples = torch.full((self.n, longest), PADDING, dtype=torch.long)
        for row, x in zip(samples, self.samples, strict=True):
            row[: len(x)] = x
        return {
            "estimate": self.estimate.contiguous(), "confidence": self.confidence.contiguous(),
            "altered": self.altered.contiguous(), "samples": samples,
            "misfit": self.misfit.contiguous(),
            **({} if self.source is None else {"source": self.source.data.contiguous()}),
        }  # fmt: skip

    def readings(self) -> dict[str, Any]:
        """Alternatives and the probability of every element, as JSON values."""
        return {
            "places": [
                {
                    "where": place.where, "start": place.start, "stop": place.stop,
                    "readings": [
                        {"data": x.tolist(), "text": self.words(x), "probability": round(p, 6)}
                        for x, p in zip(place.readings, place.probabilities, strict=True)
                    ],
                }
                for place in self.alternatives
            ],
            "probabilities": [round(p, 4) for p in self.confidence.tolist()],
        }  # fmt: skip

    def words(self, data: Tensor) -> str | None:
        """Data as its plugin shows them in one line; ``None`` if it does not."""
        name = str(self.record.get("plugin") or "")
        plugin = load_plugin(name) if name else None
        if plugin is None or not plugin.words:
            return None
        return str(plugin.resolve(plugin.words)(data))

    def write_signals(self, folder: Path) -> None:
        """Writes the estimate and the samples in the input's own format."""
        if self.signal is None or not self.record.get("plugin"):
            return
        plugin = load_plugin(self.record["plugin"])
        path = self.signal.path or (self.source.path if self.source else None)
        suffix = (
            "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
            if path
            else ""
        )
        if not suffix:
            suffix = plugin.part("formats", next(iter(plugin.formats)))().suffixes[0]
        plugin.write(self.signal, folder / f"restored{suffix}")
        plain = plugin.part("formats", next(iter(plugin.formats)))()
        for index, sample in enumerate(self.samples):
            plain.write(Signal(sample), folder / "samples" / f"{index:03d}{plain.suffixes[0]}")

    @classmethod
    def load(cls, folder: str | Path) -> TokenResult:
        """Reads what ``save`` wrote.

        Raises:
            CheckpointError: If a file is missing or damaged.
        """
        source = Path(folder)
        try:
            facts = json.loads((source / "run.json").read_text(encoding="utf-8"))
            places = json.loads((source / "readings.json").read_text(encoding="utf-8"))["places"]
            tensors = load_file(source / "result.safetensors")
            samples = tuple(row[row != PADDING] for row in tensors.pop("samples"))
            given = tensors.pop("source", None)
            arrays: dict[str, Any] = tensors
            numbers: dict[str, Any] = {
                name: math.nan if facts[name] is None else facts[name]
                for name in ("log_evidence", "effective", "nfe", "seconds")
            }
            return cls(
                samples=samples, **arrays, **numbers,
                alternatives=tuple(stored(place) for place in places),
                source=None if given is None else Signal(given),
                misfit_band=tuple(facts["misfit_band"]), trace=tuple(facts["trace"]),
                record={key: value for key, value in facts.items() if key not in DERIVED},
            )  # fmt: skip
        except Exception as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(source, f"not a result folder, or damaged ({why})") from error


DERIVED = {
    "samples", "length", "altered", "expected_errors", "misfit", "misfit_band", "consistent",
    "log_evidence", "effective", "nfe", "seconds", "trace", "kind",
}  # fmt: skip


def stored(place: Mapping[str, Any]) -> Alternatives:
    readings = place["readings"]
    return Alternatives(
        place["start"],
        place["stop"],
        tuple(torch.tensor(reading["data"], dtype=torch.long) for reading in readings),
        tuple(float(reading["probability"]) for reading in readings),
        place["where"],
    )


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
