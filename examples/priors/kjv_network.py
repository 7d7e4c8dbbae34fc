"""Trains the network of the ``kjv`` prior: King James text, letter by letter, by the clock.

    apt-get install bible-kjv bible-kjv-text
    bible -f gen1:1-rev22:21 > kjv.txt
    python examples/priors/kjv_network.py kjv.txt --out network/ --seconds 360 --compile

One verse a line, references left out, 63 symbols; for the split see ``sfumato_text.verses``. Text,
windows and hidden places stay on the device that trains (``kjv_patterns.py``). Rates rise for 200
steps, stay until 40 % of the time is over, and fall linearly to nothing. What is kept is the moving
average of the weights that fills gaps of 1, 2, 5 and 10 letters of the validation blocks best.

The shipped weights: 9,176 steps, 677 million letters, 401 s of one NVIDIA H200. ``prior.json`` has
their scores.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from kjv_patterns import GAPS, Views, measures, views, windows
from torch import Tensor, nn
from torch.nn import functional

from sfumato.processes import Absorbing
from sfumato.token_priors import Expert, TokenPrior
from sfumato.training.configs import TrainConfig
from sfumato.training.optimizers import optimizer
from sfumato_text.backbones.towers import Towers
from sfumato_text.tokenisers import Characters
from sfumato_text.verses import split, verses

LENGTH = 192
OPTIONS: dict[str, Any] = {
    "tokens": 63, "width": 160, "heads": 5, "layers": 3, "fusions": 2, "hidden": 448,
    "triples": 8192, "table_width": 32, "reach": LENGTH, "ordered": True,
}  # fmt: skip
CARD = {
    "name": "kjv-network",
    "summary": "King James Version, letters",
    "data": "Debian bible-kjv-text, blocks of 20 verses: 3.72 M letters trained on, "
    "0.21 M for validation, 0.21 M for testing",
    "licence": "public domain",
}
CONFIG = TrainConfig(lr=3e-3, muon=0.02, weight_decay=0.05, clip=1.0)
WARMUP, HOLD = 200, 0.4
"""Steps in which the rates rise; the share of the time after which they fall."""

EMA = 0.998
COMPILING = 100
"""Seconds after which an attempt to compile is given up."""


class TooSlowError(BaseException):
    """Time is over. No ``Exception``, since compilers catch those."""


class Trained:
    """A network, its average, and what changes both.

    Args:
        network: Starts as it is.
        device: Where it is trained.
    """

    def __init__(self, network: Towers, device: torch.device) -> None:
        self.network = network.to(device).train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = optimizer(network, dict(network.named_parameters()), CONFIG)
        self.steps = 0
        self.everywhere = torch.ones((1, LENGTH), dtype=torch.bool, device=device)

    def loss(self, shown: Views) -> Tensor:
        """Mean cross entropy of a letter, weighted, in nats."""
        with torch.autocast(self.everywhere.device.type, dtype=torch.bfloat16):
            logits = self.network(shown.left, self.everywhere, shown.right)
        lost = functional.cross_entropy(
            logits.flatten(0, 1).float(), shown.x.flatten(), reduction="none"
        )
        return (lost * shown.weight.flatten()).sum() / len(shown.x)

    def step(self, shown: Views, rate: float) -> Tensor:
        """One step of the optimiser and of the average; the loss before it."""
        loss = self.loss(shown)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CONFIG.clip, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate * min(1.0, (self.steps + 1) / WARMUP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        with torch.no_grad():
            keep = min(EMA, self.steps / (self.steps + 10))
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), 1 - keep
            )
        return loss.detach()

    def compile(self, shown: Views) -> str:
        """Compiles the layers, which are alike, and tries them; if that fails they stay.

        Returns:
            What came of it.
        """
        layers = [*self.network.left, *self.network.right, *self.network.fusions]
        began = time.perf_counter()
        try:
            with at_most(COMPILING):
                for layer in layers:
                    layer.compile()
                loss = self.loss(shown)
                loss.backward()
                if not bool(loss.isfinite()):
                    raise FloatingPointError("the compiled network's loss is not finite")
        except (Exception, TooSlowError) as error:  # whatever goes wrong, there is another way
            for layer in layers:
                layer._compiled_call_impl = None
            torch._dynamo.reset()
            said = f"not compiled: {type(error).__name__}: {str(error).strip()[:300]}"
        else:
            said = f"compiled in {time.perf_counter() - began:.0f} s"
        self.optimizer.zero_grad()
        return said


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises ``TooSlowError`` in what runs longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(path: Path) -> tuple[Characters, Tensor, Tensor]:
    """The alphabet, and the letters to train on and to validate with."""
    parts = split(verses(path))
    codec = Characters.from_text("".join(parts.training))
    training, validation = (
        codec.encode("".join(side)) for side in (parts.training, parts.validation)
    )
    return codec, training, validation


def rate(share: float) -> float:
    """Of the peak, when a share of the time is over."""
    return min(1.0, max(0.0, (1 - share) / (1 - HOLD)))


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="kjv.txt, one verse a line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="for everything")
    parser.add_argument("--batch", type=int, default=384, help="windows of a step")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--every", type=float, default=45, help="seconds between validations")
    parser.add_argument("--validation-windows", type=int, default=1000)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(arguments.seed)
    generator = torch.Generator(device).manual_seed(arguments.seed)

    codec, text, held_out = (
        part.to(device) if isinstance(part, Tensor) else part for part in read(arguments.data)
    )
    spread = torch.arange(arguments.validation_windows) * LENGTH
    validation, seen = (
        side[(spread % (len(side) - LENGTH))[:, None].to(device) + torch.arange(LENGTH).to(device)]
        for side in (held_out, text)
    )
    seen = seen[::4]
    trained = Trained(Towers(**OPTIONS, dropout=arguments.dropout), device)
    card: dict[str, Any] = {
        "what": "two towers, trained on the training blocks", "batch": arguments.batch,
        "length": LENGTH, "dropout": arguments.dropout, "seed": arguments.seed, "ema": EMA,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "optimiser": f"Muon {CONFIG.muon} for matrices, AdamW {CONFIG.lr} for the rest, "
        f"weight decay {CONFIG.weight_decay}; warm-up {WARMUP} steps, falling linearly to 0 from "
        f"{HOLD:.0%} of the time on",
        "precision": "bfloat16 products, float32 weights", "history": [],
    }  # fmt: skip
    best = math.inf

    def draw() -> Views:
        return views(windows(text, arguments.batch, LENGTH, generator), codec.tokens, generator)

    def judge(loss: Tensor | None) -> float:
        """Validates, reports, and saves if it is the best so far; the seconds that it took."""
        nonlocal best
        start = time.perf_counter()
        found = measures(trained.average, validation)
        score = sum(found[f"gap_{gap}_chain"] for gap in GAPS) / len(GAPS)
        row = {
            "seconds": start - began, "steps": trained.steps,
            "letters": trained.steps * arguments.batch * LENGTH,
            "loss_bits": math.nan if loss is None else float(loss) / math.log(2),
            "score": score, **found,
            **{f"training_{k}": v for k, v in measures(trained.average, seen).items()},
        }  # fmt: skip
        row = {k: round(v, 4) for k, v in row.items() if not math.isnan(v)}
        card["history"].append(row)
        print(json.dumps(row), flush=True)
        if score < best:
            best = score
            prior(trained.average, codec, card).save(
                arguments.out, overwrite=True, dtype=torch.float16
            )
        return time.perf_counter() - start

    took = judge(None)
    if arguments.compile:
        print(trained.compile(draw()), flush=True)
    start = judged = time.perf_counter()
    end = began + arguments.seconds - 2 * took - 3
    loss: Tensor | None = None
    while (now := time.perf_counter()) < end:
        loss = trained.step(draw(), rate((now - start) / (end - start)))
        if now - judged > arguments.every and end - now > arguments.every / 2:
            judge(loss)
            judged = time.perf_counter()
            if not bool(loss.isfinite()):
                break
    judge(loss)
    print(f"{time.perf_counter() - began:.0f} s, best score {best:.4f}", flush=True)


def prior(network: Towers, codec: Characters, training: dict[str, Any]) -> TokenPrior:
    """The prior of a network."""
    expert = Expert("towers", network, OPTIONS)
    card = CARD | {"training": training}
    return TokenPrior.of([expert], Absorbing(codec.tokens), codec, plugin="text", card=card)


if __name__ == "__main__":
    main()
