"""Fine-tuning a prior on other data, from a folder to a folder.

    out/
        prior.json, prior.safetensors    the result, a prior like any other
        adapter/                         the low-rank adapters, where they were trained
        metrics.jsonl                    one line per ``log_every`` steps and per validation
        checkpoints/                     to resume from
        logs/                            of the tracker
        samples/                         pictures, where the caller draws them

Training a prior from scratch is the same: it starts from one with random weights.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato import files
from sfumato.devices import AUTO, available
from sfumato.errors import InvalidOptionError, ShapeError, UnwritableFileError
from sfumato.training import checkpoint, lora
from sfumato.training.configs import TrainConfig
from sfumato.training.feeds import Data, Share, batches
from sfumato.training.journal import Journal
from sfumato.training.loops import Step, accelerate, loop
from sfumato.training.objectives import Trainable
from sfumato.training.validation import held_out, pictures, validate

if TYPE_CHECKING:
    from accelerate import Accelerator

    from sfumato.priors import Prior

__all__ = ["finetune"]

OURS = (
    "prior.json",
    "prior.safetensors",
    "metrics.jsonl",
    "adapter",
    "checkpoints",
    "logs",
    "samples",
)
"""What may be removed from a folder that is to be overwritten."""

Draw = Callable[[Tensor, Path], Any]


def finetune(
    prior: Prior,
    data: Data,
    *,
    out: str | Path,
    config: TrainConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callback: Callable[[Step], Any] | None = None,
    draw: Draw | None = None,
    tracker: str = "tensorboard",
    progress: bool = False,
    device: torch.device | str = AUTO,
) -> Prior:
    """Trains a copy of ``prior`` on ``data``; returns it, with averaged weights.

    Args:
        prior: Where to start; it is not changed.
        data: See ``sfumato.training.feeds``.
        out: Folder to write.
        config: Settings.
        resume: Whether to go on from the newest checkpoint in ``out``, if there is one.
        overwrite: Whether an earlier run in ``out`` may be removed.
        callback: Called after every step, in every process.
        draw: ``(samples, path)``: writes samples in physical units as a picture; ``path`` has no
            suffix. Called in the main process after every validation.
        tracker: Of accelerate: ``"tensorboard"``, ``"wandb"`` …; empty for none.
        progress: Whether to show a progress bar.
        device: Where to train, such as "cuda:1"; ``"auto"`` is CUDA where there is one, else the
            CPU. Of several processes each takes its own. The result is where ``prior`` is.

    Raises:
        ShapeError: If the data are not of a shape that the prior models.
        InvalidOptionError: If there is no such device, tracker or precision.
        OutputExistsError: If ``out`` is in use, and not by a run to resume or to overwrite.
        CheckpointError: If the checkpoint to resume from is damaged or of another run.
        UnwritableFileError: If the disk is full. The last checkpoint stays usable.
    """
    config = config or TrainConfig()
    available(device)
    folder = check_out(out, resume=resume, overwrite=overwrite)
    check_item(prior, data, config)
    counted = prior.refit(data)
    if counted is not None:
        made, scores = counted
        if not made.learns:
            prepare(folder, keep=False)
            about = training_card(prior, data, config, scores)
            made = made.with_network(made.network, card=about)
            publish(made, folder)
            return made
        about = {**prior.card, "counted": {"parent": prior.hash(), **scores}}
        prior = made.with_network(made.network, card=about)
    try:
        accelerator = accelerate(device, log_with=tracker or None, project_dir=folder / "logs")
    except ValueError as error:
        raise InvalidOptionError(
            "training", f"tracker={tracker!r}", "use tensorboard, wandb, … or an empty name"
        ) from error
    if accelerator.is_main_process:
        prepare(folder, keep=resume)
    accelerator.wait_for_everyone()
    network = copy.deepcopy(prior.network).requires_grad_()
    network = network if prior.learner(network).dtype == torch.float64 else network.float()
    if config.lora is not None:
        lora.inject(network, config.lora, seed=config.seed)
    found = checkpoint.latest(folder / "checkpoints") if resume else None
    denoiser = prior.learner(network)
    steps = loop(denoiser, data, config, codec=prior.codec, resume=found, accelerator=accelerator)
    journal = Journal(folder, config, accelerator, tracker)
    judge = Judge(prior, denoiser, data, config, accelerator, draw)
    with bar(config.steps, shown=progress and accelerator.is_main_process) as advance:
        saved = time.monotonic()
        for step in steps:
            journal.log(step)
            done = step.index + 1
            advance(done)
            if callback is not None:
                callback(step)
            last = done == config.steps
            if last or (config.validation_every and done % config.validation_every == 0):
                journal.write(done, judge(step, folder / "samples" / f"step-{done:08d}"))
            due = time.monotonic() - saved > 60 * config.checkpoint_minutes
            if agreed(accelerator, due or last):
                journal.flush()
                if accelerator.is_main_process:
                    checkpoint.save(step.state, folder / "checkpoints")
                saved = time.monotonic()
    journal.close()
    return finish(prior, denoiser, data, config, folder, accelerator)


def check_item(prior: Prior, data: Data, config: TrainConfig) -> None:
    """Checks that the first item is something that this prior models."""
    batch = next(batches(data, Share(replace(config, workers=0, batch=1), 0)))
    shape = tuple(batch.x.shape[1:])
    prior.check(shape)
    multiple = int(getattr(prior.network, "multiple", 1))
    if any(n % multiple for n in shape[1:]):
        raise ShapeError("a training item", shape, f"sides that are multiples of {multiple}")


def check_out(folder: str | Path, *, resume: bool, overwrite: bool) -> Path:
    """Checks, before any compute, that a run may write to ``folder``.

    Raises:
        OutputExistsError: If it is in use, and neither may be replaced nor holds a run to go on.
        UnwritableFileError: If it cannot be written.
    """
    begun = resume and any((Path(folder) / name).exists() for name in OURS)
    return files.check_folder(folder, overwrite=overwrite or begun)


def prepare(folder: Path, *, keep: bool) -> None:
    """Makes the folder, and clears what an earlier run left unless it goes on."""
    try:
        for name in () if keep else OURS:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFileError(folder, error.strerror or str(error)) from error


def agreed(accelerator: Accelerator, wanted: bool) -> bool:
    """The main process's wish, in every process: their clocks differ."""
    if accelerator.num_processes == 1:
        return wanted
    wish = torch.tensor(float(wanted and accelerator.is_main_process), device=accelerator.device)
    summed: Tensor = accelerator.reduce(wish, "sum")
    return bool(summed.item() > 0)


@dataclass(frozen=True)
class Judge:
    """Validates the averaged weights and draws samples from them."""

    prior: Prior
    denoiser: Trainable
    data: Data
    config: TrainConfig
    accelerator: Accelerator
    draw: Draw | None

    def __call__(self, step: Step, path: Path) -> dict[str, float]:
        """What to write into the journal: the validation loss, if there are data for it."""
        apart = held_out(self.data)
        codec = self.prior.codec
        values = {}
        step.state.network.eval()
        with step.state.ema.applied():
            if apart is not None:
                loss = validate(
                    self.denoiser, apart, self.config, codec=codec, accelerator=self.accelerator
                )
                values["validation_loss"] = loss
            if self.draw is not None and self.config.samples and self.accelerator.is_main_process:
                path.parent.mkdir(parents=True, exist_ok=True)
                known = self.data if apart is None else apart
                self.draw(pictures(self.denoiser, known, self.config, codec=codec), path)
        return values


def finish(
    prior: Prior,
    denoiser: Trainable,
    data: Data,
    config: TrainConfig,
    folder: Path,
    accelerator: Accelerator,
) -> Prior:
    """The prior with the averaged weights of the last checkpoint, written to ``folder``."""
    accelerator.wait_for_everyone()
    network = copy.deepcopy(denoiser.network)
    assert isinstance(network, torch.nn.Module)
    last = checkpoint.latest(folder / "checkpoints")
    assert last is not None  # the last step writes one
    network.load_state_dict(checkpoint.average(last), strict=False)
    if config.lora is not None:
        if accelerator.is_main_process:
            lora.save(network, config.lora, folder / "adapter", overwrite=True)
        lora.merge(network)
    network.to(prior.device).eval().requires_grad_(False)
    tuned = prior.with_network(network, card=card(prior, data, config, folder))
    mirrors = tuple(getattr(data, "mirrors", ()))
    if getattr(prior.denoiser, "mirrors", ()) != mirrors:
        tuned = tuned.mirrored(mirrors)
    if accelerator.is_main_process:
        publish(tuned, folder)
    accelerator.wait_for_everyone()
    return tuned


def card(prior: Prior, data: Data, config: TrainConfig, folder: Path) -> dict[str, Any]:
    """The model card: where the weights come from, and how well they do."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if "validation_loss" in line]
    scores = {"validation_loss": rows[-1]["validation_loss"]} if rows else {}
    return training_card(prior, data, config, scores)


def training_card(
    prior: Prior, data: Data, config: TrainConfig, scores: dict[str, float]
) -> dict[str, Any]:
    """The card of a prior that comes from ``prior``, with its scores."""
    earlier = {key: value for key, value in prior.card.items() if key != "training"}
    training: dict[str, Any] = {
        "parent": prior.hash(),
        "items": len(data),
        "config": config.as_dict(),
        **scores,
    }
    about = getattr(data, "card", None)
    return {**earlier, **({"data": about} if about is not None else {}), "training": training}


def publish(prior: Prior, folder: Path) -> None:
    """Puts a prior's files into a folder that holds others; its description comes last."""
    work = folder / ".prior"
    shutil.rmtree(work, ignore_errors=True)
    prior.save(work)
    for name in ("prior.safetensors", "prior.json"):
        (work / name).replace(folder / name)
    shutil.rmtree(work)


@contextlib.contextmanager
def bar(total: int, *, shown: bool) -> Iterator[Callable[[int], Any]]:
    """A progress bar to be told how many steps are done."""
    if not shown:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress() as display:
        task = display.add_task("training", total=total)
        yield lambda done: display.update(task, completed=done)
