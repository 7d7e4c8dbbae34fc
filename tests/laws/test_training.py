"""Laws of training: it reaches the optimum, and how a run is cut or divided does not matter."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.processes import VP, Gaussian
from sfumato.training import TrainConfig, checkpoint, loop
from sfumato.training.loops import accelerate
from sfumato.training.times import times
from sfumato.training.validation import validate

STD = torch.tensor([1.0, 0.2])
MEAN = torch.tensor([0.5, -0.3])
ANGLE = 0.7


@dataclass(frozen=True)
class Ellipse:
    """Endless draws of N(MEAN, R diag(STD²) Rᵀ)."""

    count: int = 10_000

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        z = STD * torch.randn(2, generator=generator)
        c, s = math.cos(ANGLE), math.sin(ANGLE)
        return MEAN + torch.tensor([[c, -s], [s, c]]) @ z


class MLP(nn.Module):
    def __init__(self, *, heads: int = 1, width: int = 48, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Dropout(dropout), nn.Linear(width, 2 * heads),
        )  # fmt: skip

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        result: Tensor = self.layers(torch.cat([x, noise_level[:, None]], dim=1))
        return result


def floor(denoiser: Preconditioned, config: TrainConfig) -> float:
    """E_t[w(t) mean Var[x₀ | x_t]], with w = 1/c_out²: the least possible loss."""
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    level = denoiser.process.level(times(config).quantile(denoiser.process, u))
    precision = STD.double() ** -2 + level.ratio[:, None] ** -2
    variance = (1 / precision).mean(dim=1)
    return (variance / denoiser.coefficients(level).out ** 2).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(("process", "prediction"), [(Gaussian(), "edm"), (Gaussian(VP()), "v")])
def test_the_loss_reaches_the_analytic_floor_on_gaussian_data(
    process: Gaussian, prediction: str
) -> None:
    denoiser = Preconditioned(MLP(), process, prediction=prediction, spread=0.7)
    config = TrainConfig(
        steps=500, batch=64, lr=5e-3, warmup=20, ema=0.98, low_discrepancy=True,
        validation_items=4096,
    )  # fmt: skip
    for step in loop(denoiser, Ellipse(), config):
        last = step
    judge = {"codec": Affine(), "accelerator": accelerate()}
    with last.state.ema.applied():
        reached = validate(denoiser, Ellipse(), replace(config, batch=1024), **judge)
    least = floor(denoiser, config)
    # 4,096 items of two elements: the mean of their χ² errors has a spread of 2.5 %
    assert 0.92 * least < reached < 1.10 * least


CONFIG = TrainConfig(steps=8, batch=4, lr=1e-2, warmup=2)


def fresh(*, dropout: float = 0.0) -> Preconditioned:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Preconditioned(MLP(heads=2, dropout=dropout).double(), Gaussian(), head="variance")


def train(config: TrainConfig = CONFIG, *, dropout: float = 0.0, **more: Any) -> dict[str, Tensor]:
    denoiser = fresh(dropout=dropout)
    assert isinstance(denoiser.network, nn.Module)
    for _ in loop(denoiser, Ellipse(10), config, **more):
        pass
    return denoiser.network.state_dict()


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor], *, rtol: float = 0.0) -> None:
    for name, value in left.items():
        assert torch.allclose(value, right[name], rtol=rtol, atol=rtol), name


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_by_bit(
    tmp_path: Path, stop: int, dropout: float
) -> None:
    for step in loop(fresh(dropout=dropout), Ellipse(10), CONFIG):
        if step.state.step == stop:
            checkpoint.save(step.state, tmp_path)
            break
    assert_equal(train(dropout=dropout, resume=tmp_path), train(dropout=dropout))


def test_the_global_generator_has_no_influence() -> None:
    first = train(dropout=0.5)
    torch.rand(5)
    assert_equal(train(dropout=0.5), first)


def test_another_seed_is_another_run() -> None:
    other = train(replace(CONFIG, seed=1))
    assert not torch.equal(other["layers.0.weight"], train()["layers.0.weight"])


def test_accumulated_batches_equal_one_large_batch() -> None:
    parts = replace(CONFIG, batch=1, accumulation=4)
    assert_equal(train(parts), train(), rtol=1e-9)


WORKER = """
import os
import sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from test_training import CONFIG, Ellipse, fresh
from safetensors.torch import save_file
from sfumato.training import loop
from sfumato.training.loops import accelerate

accelerator = accelerate()
assert accelerator.num_processes == 2
denoiser = fresh()
losses = [s.loss for s in loop(
    denoiser, Ellipse(10), replace(CONFIG, batch=2), accelerator=accelerator)]
if accelerator.is_main_process:
    save_file(denoiser.network.state_dict(), sys.argv[2])
accelerator.wait_for_everyone()
accelerator.end_training()
os._exit(0)  # all is written; tearing gloo's threads down aborts now and then on a busy machine
"""


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["launcher", "environment"])
def test_two_processes_equal_one_with_the_same_global_batch(starter: str, tmp_path: Path) -> None:
    script, result = tmp_path / "worker.py", tmp_path / "weights.safetensors"
    script.write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # the launcher's way to start processes without MPI has the name of GPUs; the variable keeps
    # them on the CPU. With --cpu it leaves the starting to mpirun, which sets RANK and its like
    flag = "--multi_gpu" if starter == "launcher" else "--cpu"
    command = [
        sys.executable, "-m", "accelerate.commands.launch", flag, "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", port, str(script), str(Path(__file__).parent), str(result),
    ]  # fmt: skip
    common = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    by_hand = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = (
        [common]
        if starter == "launcher"
        else [common | by_hand | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    )
    children = [
        subprocess.Popen(command, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True)
        for own in started
    ]
    try:
        for child in children:
            _, errors = child.communicate(timeout=240)
            assert child.returncode == 0, errors[-3000:]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert_equal(load_file(result), train(), rtol=1e-9)


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from test_training import CONFIG, Ellipse, fresh
from sfumato.training import checkpoint, loop

folder = sys.argv[2]
resume = folder if checkpoint.latest(folder) else None
config = replace(CONFIG, steps=100_000, schedule="constant")
for step in loop(fresh(), Ellipse(10), config, resume=resume):
    checkpoint.save(step.state, folder)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_where_it_was(tmp_path: Path) -> None:
    script, folder = tmp_path / "endless.py", tmp_path / "checkpoints"
    script.write_text(ENDLESS)
    folder.mkdir()
    for delay in (0.0, 0.002):
        before = checkpoint.latest(folder)
        child = subprocess.Popen([sys.executable, script, Path(__file__).parent, folder])
        deadline = time.monotonic() + 120
        try:
            while checkpoint.latest(folder) == before or not list(folder.glob(".writing-*")):
                assert child.poll() is None
                assert time.monotonic() < deadline
            time.sleep(delay)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    config = replace(CONFIG, schedule="constant", steps=2)
    found = checkpoint.latest(folder)
    assert found is not None
    done = int(found.name.removeprefix("step-"))
    config = replace(config, steps=done + 3)
    assert_equal(train(config, resume=folder), train(config))
