"""The training loop, as a generator of steps.

    for step in loop(denoiser, data, TrainConfig(steps=1000)):
        print(step.index, step.loss)

Whoever iterates decides about printing, validation, checkpoints and early stops. One step draws
x₀ from the data, t from a distribution of times and noise, and lowers the denoising loss at x_t.

Every draw is a function of (seed, step, global sample number). A resumed run therefore equals the
uninterrupted one bit by bit on the same machine, and p processes with batches of b equal one with
p · b, or p forward passes of b, up to rounding. Only dropout inside a network differs there.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfumato.codecs import Affine
from sfumato.devices import AUTO, available
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import derive
from sfumato.training import checkpoint
from sfumato.training.checkpoint import State
from sfumato.training.configs import TrainConfig
from sfumato.training.ema import EMA
from sfumato.training.feeds import Batch, Data, Share, batches
from sfumato.training.histories import History, Piecewise
from sfumato.training.objectives import Trainable, batch_losses
from sfumato.training.optimizers import optimizer
from sfumato.training.schedules import ema_decay, learning_rate
from sfumato.training.times import positions

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Step", "accelerate", "loop"]


@dataclass(frozen=True)
class Step:
    """What is known after a step.

    Args:
        index: 0 for the first step of the run.
        loss: Mean weighted denoising error over all processes, without the second head's part; for
            tokens nats per place.
        lr: Learning rate of this step.
        grad_norm: Norm of the gradient before clipping.
        seconds: Wall-clock time of this step.
        state: The run itself, to validate or to write a checkpoint from.
    """

    index: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float
    state: State = field(repr=False)


def loop(
    denoiser: Trainable,
    data: Data,
    config: TrainConfig,
    *,
    codec: Affine | None = None,
    resume: str | Path | None = None,
    accelerator: Accelerator | None = None,
) -> Iterator[Step]:
    """Trains the network of ``denoiser`` in place, one step per iteration.

    Args:
        denoiser: Network and process. Parameters that require no gradient are left alone.
        data: See ``sfumato.training.feeds``.
        config: Settings.
        codec: Physical to model units; none if the data are in model units.
        resume: A checkpoint, or the folder of checkpoints, to go on from.
        accelerator: Of the caller, if it has one (with its trackers).

    Raises:
        UnsupportedError: If the network has no trainable weights, or not in float32 or float64.
        InvalidOptionError: If there are no data, the device lacks the precision asked for, or,
            while iterating, if the loss is not finite.
        CheckpointError: If ``resume`` cannot be used.
    """
    network = denoiser.network
    if not isinstance(network, nn.Module):
        raise UnsupportedError("training", "a network with weights", "this one is a function")
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not trainable or any(
        p.dtype not in (torch.float32, torch.float64) for p in trainable.values()
    ):
        found = "none require a gradient" if not trainable else "they are in lower precision"
        raise UnsupportedError("training", "weights in float32 or float64", found)
    accelerator = accelerator or accelerate()
    precision = Precision.choose(config, accelerator.device)
    network.to(accelerator.device)
    state = State(
        network=network,
        optimizer=optimizer(network, trainable, config),
        ema=EMA(trainable),
        config=config,
        total=config.batch * config.accumulation * accelerator.num_processes,
        scaler=precision.scaler(),
        history=History() if config.times == "loss-aware" else None,
    )  # fmt: skip
    if resume is not None:
        checkpoint.restore(state, resume)
    share = Share(config, state.step, accelerator.process_index, accelerator.num_processes)
    feed = batches(data, share, pin=accelerator.device.type == "cuda")
    run = Run(denoiser, codec or Affine(), accelerator, precision, state)
    return run.steps(feed)


def accelerate(device: torch.device | str = AUTO, **options: Any) -> Accelerator:
    """An ``Accelerator`` that knows the processes and the device, and no more.

    Precision is handled here, since its own changes the network's ``forward`` for good.

    Args:
        device: Of a process that is alone; several take one each.
        options: Of the ``Accelerator``.

    Raises:
        InvalidOptionError: If there is no such device, or one is named for several processes.
    """
    from accelerate import Accelerator

    made = Accelerator(mixed_precision="no", **options)
    if made.num_processes == 1:
        # its state is shared by all that a Python process makes: what an earlier one chose stays
        made.state.device = available(device)
    elif str(device) != AUTO:
        raise InvalidOptionError(
            "training", f"device={device} for {made.num_processes} processes",
            "leave it out: each takes its own",
        )  # fmt: skip
    return made


@dataclass(frozen=True)
class Precision:
    """In which precision a network is evaluated; its weights stay as they are."""

    name: str
    device: torch.device

    @classmethod
    def choose(cls, config: TrainConfig, device: torch.device) -> Precision:
        """What ``config.mixed_precision`` means on ``device``."""
        name: str = config.mixed_precision
        cuda = device.type == "cuda"
        if name == "auto":
            native = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
            name = "bf16" if native else "fp16" if cuda else "no"
        if name == "fp16" and not cuda:
            raise InvalidOptionError(
                "training", f"mixed_precision=fp16 on {device.type}", "use bf16 or no"
            )
        return cls(name, device)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.name == "no":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


@dataclass(frozen=True)
class Run:
    """The parts of a loop that stay the same."""

    denoiser: Trainable
    codec: Affine
    accelerator: Accelerator
    precision: Precision
    state: State

    def steps(self, feed: Iterator[Batch]) -> Iterator[Step]:
        """Yields the steps that are left, and puts the network back into its mode at the end."""
        network, config = self.state.network, self.state.config
        was_training = network.training
        wrapped: nn.Module = self.accelerator.prepare_model(network)
        compiled = None
        if config.compile:
            network.compile()
            compiled = network._compiled_call_impl
        try:
            for _ in range(self.state.step, config.steps):
                network.train()  # a validation in between leaves it in the other mode
                network._compiled_call_impl = compiled
                step = self.step(wrapped, feed)
                network._compiled_call_impl = None  # other shapes would be compiled again
                yield step
        finally:
            network.train(was_training)
            network._compiled_call_impl = None
            self.state.optimizer.zero_grad()

    def step(self, network: nn.Module, feed: Iterator[Batch]) -> Step:
        """One step of the optimiser."""
        began = time.perf_counter()
        state, config = self.state, self.state.config
        index, lr = state.step, learning_rate(config, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = lr * group.get("peak", config.lr) / config.lr
        loss = self.gradients(network, feed)
        state.scaler.unscale_(state.optimizer)
        parameters = list(state.ema.parameters.values())
        norm = nn.utils.clip_grad_norm_(parameters, config.clip or math.inf).item()
        # in fp16 the scaler skips steps that overflow, and lowers its scale
        if not math.isfinite(loss) or not (math.isfinite(norm) or state.scaler.is_enabled()):
            raise InvalidOptionError(
                "training", f"loss {loss} and gradient norm {norm} at step {index}",
                "lower lr, warm up for longer, or use mixed_precision=no",
            )  # fmt: skip
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
        state.ema.update(ema_decay(config, index))
        state.step = index + 1
        return Step(index, loss, lr, norm, time.perf_counter() - began, state)

    def gradients(self, network: nn.Module, feed: Iterator[Batch]) -> float:
        """Sums the gradients of a step; returns its mean loss over all processes."""
        config, device = self.state.config, self.accelerator.device
        denoiser = replace(self.denoiser, network=network)
        total = torch.zeros((), device=device)
        with private_randomness(self.state, self.accelerator):
            for forward in range(config.accumulation):
                last = forward + 1 == config.accumulation
                hold = contextlib.nullcontext() if last else self.accelerator.no_sync(network)
                with hold:
                    batch = next(feed)
                    u = positions(config, self.state.step, batch.numbers, self.state.total)
                    history = self.state.history
                    drawn = None if history is None else history.times()
                    with self.precision.autocast():
                        losses = batch_losses(
                            denoiser, self.codec, batch, config, u=u, distribution=drawn
                        )
                    if history is not None and drawn is not None:
                        self.remember(history, drawn, u, losses.error.detach())
                    mean = (losses.error + config.variance_weight * losses.head).mean()
                    self.state.scaler.scale(mean / config.accumulation).backward()  # type: ignore[no-untyped-call]
                    total += losses.error.detach().mean() / config.accumulation
        reduced: Tensor = self.accelerator.reduce(total, "mean")
        return reduced.item()

    def remember(self, history: History, drawn: Piecewise, u: Tensor, losses: Tensor) -> None:
        """Adds the losses of all processes, as they were before importance weighed them."""
        place = drawn.place(u)
        bins = len(drawn.masses)
        share = torch.tensor(drawn.masses, dtype=torch.float64) * bins / sum(drawn.masses)
        relative = share[(place * bins).long().clamp(max=bins - 1)]
        pairs = torch.stack([place, losses.double().cpu() * relative], dim=1)
        found = self.accelerator.gather(pairs.to(self.accelerator.device, torch.float32)).cpu()
        history.add(found[:, 0], found[:, 1])


@contextlib.contextmanager
def private_randomness(state: State, accelerator: Accelerator) -> Iterator[None]:
    """Dropout draws from the global generators; here they are the step's own, and put back."""
    cuda = accelerator.device.type == "cuda"
    devices = [accelerator.device] if cuda else []
    with torch.random.fork_rng(devices=devices):
        seed = derive(state.config.seed, "network", state.step, accelerator.process_index)
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(accelerator.device):
                torch.cuda.manual_seed(seed)
        yield
