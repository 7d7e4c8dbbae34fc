"""What the loop refuses, reports and leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from sfumato.denoisers import Preconditioned
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.priors import Prior
from sfumato.processes import Gaussian
from sfumato.training.configs import TrainConfig
from sfumato.training.loops import loop

CONFIG = TrainConfig(steps=4, batch=2, lr=1e-3, warmup=0, schedule="constant")


def steps(prior: Prior, data: Any, config: TrainConfig = CONFIG, **more: Any) -> list[Any]:
    return list(loop(prior.denoiser, data, config, codec=prior.codec, **more))


def test_a_step_says_what_happened(prior: Prior, blobs: Any) -> None:
    seen = steps(prior, blobs)
    assert [step.index for step in seen] == [0, 1, 2, 3]
    assert all(step.lr == 1e-3 and step.loss > 0 and step.seconds > 0 for step in seen)
    assert all(step.grad_norm > 0 for step in seen)
    assert "state" not in repr(seen[0])


def test_the_caller_may_stop_at_any_step(prior: Prior, blobs: Any) -> None:
    run = loop(prior.denoiser, blobs, CONFIG, codec=prior.codec)
    assert next(run).index == 0
    run.close()  # type: ignore[attr-defined]


def test_the_loop_leaves_the_networks_mode_and_the_global_generator_alone(
    prior: Prior, blobs: Any
) -> None:
    prior.network.eval()
    state = torch.get_rng_state()
    steps(prior, blobs)
    assert torch.equal(torch.get_rng_state(), state)
    assert not prior.network.training
    assert all(p.grad is None for p in prior.network.parameters())


def test_frozen_weights_stay(prior: Prior, blobs: Any, weights: Any) -> None:
    before = weights(prior.network)
    prior.network.requires_grad_(False)
    prior.network.get_submodule("last").requires_grad_()
    steps(prior, blobs)
    moved = {
        name for name, value in weights(prior.network).items() if not value.equal(before[name])
    }
    assert moved == {"last.weight", "last.bias"}


def test_double_precision_is_kept(prior: Prior, blobs: Any) -> None:
    prior.network.double()
    steps(prior, blobs)
    assert {p.dtype for p in prior.network.parameters()} == {torch.float64}


def test_bf16_is_near_full_precision(prior: Prior, blobs: Any, weights: Any) -> None:
    start = weights(prior.network)
    losses = {}
    for precision in ("no", "bf16"):
        prior.network.load_state_dict(start)
        config = replace(CONFIG, mixed_precision=precision)
        losses[precision] = [step.loss for step in steps(prior, blobs, config)]
    assert {p.dtype for p in prior.network.parameters()} == {torch.float32}
    assert losses["bf16"] != losses["no"]
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.05)


def test_clipping_bounds_a_plain_gradient_step(prior: Prior, blobs: Any, weights: Any) -> None:
    """AdamW's first step does not depend on the gradient's scale, its second moment does."""
    start = weights(prior.network)
    moments = []
    for clip in (0.0, 1e-3):
        prior.network.load_state_dict(start)
        (step,) = steps(prior, blobs, replace(CONFIG, steps=1, clip=clip))
        states = step.state.optimizer.state.values()
        moments.append(sum(s["exp_avg"].square().sum() for s in states).sqrt().item() / 0.1)
        assert step.grad_norm > 1e-2
    assert moments[0] == pytest.approx(step.grad_norm, rel=1e-4)
    assert moments[1] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("head", ["", "variance", "interpolation"])
@pytest.mark.parametrize("weight", ["edm", "min-snr", "uniform", "likelihood"])
def test_every_weight_trains_every_head(prior: Prior, blobs: Any, weight: Any, head: str) -> None:
    from sfumato.networks import UNet

    network = UNet(channels=1, widths=(8,), blocks=(1,), classes=3, variance=bool(head))
    denoiser = replace(prior.denoiser, network=network, head=head)
    config = replace(CONFIG, weight=weight, steps=2)
    assert len(list(loop(denoiser, blobs, config, codec=prior.codec))) == 2


def test_a_function_cannot_be_trained(blobs: Any) -> None:
    denoiser = Preconditioned(lambda x, _: x, Gaussian())
    with pytest.raises(UnsupportedError, match="this one is a function"):
        loop(denoiser, blobs, CONFIG)


def test_frozen_and_half_precision_networks_are_refused(prior: Prior, blobs: Any) -> None:
    prior.network.bfloat16()
    with pytest.raises(UnsupportedError, match="lower precision"):
        steps(prior, blobs)
    prior.network.float().requires_grad_(False)
    with pytest.raises(UnsupportedError, match="none require a gradient"):
        steps(prior, blobs)


def test_fp16_needs_a_gpu(prior: Prior, blobs: Any) -> None:
    with pytest.raises(InvalidOptionError, match="fp16 on cpu; use bf16"):
        steps(prior, blobs, replace(CONFIG, mixed_precision="fp16"))


def test_a_loss_that_explodes_stops_the_run(prior: Prior, blobs: Any) -> None:
    with torch.no_grad():
        prior.network.get_parameter("last.weight").fill_(float("inf"))
    with pytest.raises(InvalidOptionError, match="at step 0; lower lr"):
        steps(prior, blobs)


@dataclass(frozen=True)
class Mislabelled:
    def __len__(self) -> int:
        return 2

    def item(self, index: int, generator: torch.Generator) -> Any:
        return {"x": torch.zeros(1, 8, 8), "label": 3}


def test_a_label_that_the_prior_does_not_know_is_refused(prior: Prior) -> None:
    with pytest.raises(InvalidOptionError, match="labels from 3 to 3; this prior knows 0 to 2"):
        steps(prior, Mislabelled())
