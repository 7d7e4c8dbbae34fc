"""Priors over tokens are saved whole, and refuse what does not belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sfumato as sf
from sfumato.errors import (
    CheckpointError,
    InvalidOptionError,
    SfumatoError,
    ShapeError,
    UnsupportedError,
)
from sfumato.processes import Absorbing
from sfumato.token_priors import Expert, TokenPrior

pytest.importorskip("sfumato_text")


@pytest.fixture
def network(small_prior: TokenPrior) -> TokenPrior:
    from sfumato_text.backbones.towers import Towers

    options = {
        "tokens": small_prior.process.tokens, "width": 16, "layers": 1, "heads": 2, "hidden": 32,
        "reach": 32,
    }  # fmt: skip
    return TokenPrior.of(
        [Expert("towers", Towers(**options).eval(), options)], small_prior.process,
        small_prior.codec, plugin="text", card={"name": "network", "data": "none"},
    )  # fmt: skip


def beliefs(prior: TokenPrior) -> torch.Tensor:
    x = prior.codec.encode("the value of the attri").unsqueeze(0)
    x[0, 4:6] = prior.process.tokens
    return prior.denoiser(x, prior.process.level(torch.tensor([0.5]))).log_probs


@pytest.mark.parametrize("kind", ["counts", "network", "both"])
def test_a_prior_believes_the_same_after_a_folder(
    small_prior: TokenPrior, network: TokenPrior, tmp_path: Path, kind: str
) -> None:
    both = TokenPrior.of(
        [replace(small_prior.experts[0], weight=0.7), replace(network.experts[0], weight=0.3)],
        small_prior.process, small_prior.codec, plugin="text",
    )  # fmt: skip
    prior = {"counts": small_prior, "network": network, "both": both}[kind]
    again = sf.Prior.load(str(prior.save(tmp_path / "prior")))
    assert isinstance(again, TokenPrior)
    assert again.hash() == prior.hash()
    assert again.backbone == prior.backbone
    torch.testing.assert_close(beliefs(again), beliefs(prior), rtol=0, atol=1e-6)


def test_the_hash_follows_weights_and_codec_and_not_the_card(
    network: TokenPrior,
) -> None:
    named = network.with_experts(network.experts, card={"name": "other"})
    assert named.hash() == network.hash()
    other = network.to()
    with torch.no_grad():
        next(other.network.parameters()).add_(1e-3)
    assert other.hash() != network.hash()


def test_a_copy_on_a_device_shares_nothing(network: TokenPrior) -> None:
    copy = network.to("cpu")
    with torch.no_grad():
        next(copy.network.parameters()).zero_()
    assert copy.hash() != network.hash()


def test_the_expert_with_parameters_is_the_one_that_is_trained(
    small_prior: TokenPrior, network: TokenPrior
) -> None:
    experts = [network.experts[0], small_prior.experts[0]]
    both = TokenPrior.of(experts, small_prior.process, small_prior.codec, plugin="text")
    assert both.network is network.experts[0].module
    with pytest.raises(UnsupportedError, match="counts"):
        small_prior.learner(small_prior.network)


def test_experts_and_codec_must_agree(small_prior: TokenPrior) -> None:
    with pytest.raises(InvalidOptionError, match=r"codec of 48 tokens, a process of 5"):
        TokenPrior.of(small_prior.experts, Absorbing(5), small_prior.codec, plugin="text")
    with pytest.raises(InvalidOptionError, match="no expert"):
        TokenPrior.of([], small_prior.process, small_prior.codec, plugin="text")


def test_data_with_other_axes_are_refused(small_prior: TokenPrior) -> None:
    small_prior.check((40,))
    with pytest.raises(ShapeError):
        small_prior.check((3, 40))


@pytest.mark.parametrize("damage", ["weights", "description", "tokeniser", "backbone"])
def test_a_damaged_folder_is_refused(small_prior: TokenPrior, tmp_path: Path, damage: str) -> None:
    folder = small_prior.save(tmp_path / "prior")
    path = folder / "prior.json"
    description = json.loads(path.read_text())
    if damage == "weights":
        data = (folder / "prior.safetensors").read_bytes()
        (folder / "prior.safetensors").write_bytes(data[: len(data) // 2])
    elif damage == "description":
        del description["experts"]
    elif damage == "tokeniser":
        description["codec"]["alphabet"] = ["a", "a"]
    else:
        description["experts"][0]["backbone"] = "abacus"
    path.write_text(json.dumps(description))
    with pytest.raises((CheckpointError, SfumatoError)):
        sf.Prior.load(str(folder))


def test_experts_that_count_are_counted_again_beside_one_that_learns(
    small_prior: TokenPrior, network: TokenPrior, tmp_path: Path
) -> None:
    from sfumato_text.datasets import Texts

    experts = [*small_prior.experts, *network.experts]
    both = TokenPrior.of(experts, small_prior.process, small_prior.codec, plugin="text")
    (tmp_path / "a.txt").write_text("the xylophone is called zither\n" * 60)
    found = both.refit(Texts(tmp_path / "a.txt", codec=both.codec, length=30))
    assert found is not None
    made, scores = found
    assert made.learns
    assert scores["bits_per_token"] < 1
    assert made.experts[0].module is not both.experts[0].module
    assert made.experts[1].module is both.experts[1].module


def test_counting_again_needs_something_that_counts(network: TokenPrior) -> None:
    assert network.refit(None) is None  # it is trained by descent
    silent = torch.nn.Identity()
    expert = Expert("silent", silent)
    bare = replace(network, experts=(expert,))
    with pytest.raises(UnsupportedError, match="'silent' does neither"):
        bare.refit(None)
