"""Adapters on any layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import CheckpointError, InvalidOptionError
from sfumato.networks import UNet
from sfumato.training import lora
from sfumato.training.configs import LoRA

LAYERS = [
    (nn.Linear(6, 4), (5, 6)),
    (nn.Conv1d(6, 4, 3, padding=1), (2, 6, 9)),
    (nn.Conv2d(6, 4, 3, stride=2), (2, 6, 9, 9)),
    (nn.Conv2d(6, 4, 1), (2, 6, 5, 5)),
    (nn.Conv3d(6, 4, 3, padding=1), (2, 6, 5, 5, 5)),
    (nn.Conv3d(6, 4, 1), (2, 6, 3, 3, 3)),
]


def stirred(network: nn.Module) -> nn.Module:
    """Adapters with numbers in them, as after training."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in lora.adapters(network).values():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) / 3)
    return network


def unet(dimensions: int = 2) -> UNet:
    return UNet(channels=1, widths=(4, 8), blocks=(1, 1), dimensions=dimensions).double()


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[repr(layer) for layer, _ in LAYERS])
def test_merged_equals_unmerged(layer: nn.Module, shape: tuple[int, ...]) -> None:
    network = nn.Sequential(layer).double()
    x = torch.randn(shape, dtype=torch.float64)
    before = network(x)
    stirred(lora.inject(network, LoRA(rank=3)))
    unmerged = network(x)
    merged = lora.merge(network)(x)
    assert not torch.allclose(unmerged, before, rtol=1e-2)
    assert torch.allclose(merged, unmerged, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_whole_network_merges_back_to_its_own_names(dimensions: int) -> None:
    network = unet(dimensions)
    names = set(network.state_dict())
    x, level = torch.randn(2, 1, *[8] * dimensions).double(), torch.zeros(2).double()
    stirred(lora.inject(network, LoRA(rank=2)))
    unmerged = network(x, level)
    merged = lora.merge(network)
    assert set(merged.state_dict()) == names
    assert torch.allclose(merged(x, level), unmerged, rtol=1e-10, atol=1e-12)


def test_a_fresh_adapter_changes_nothing_and_trains_little() -> None:
    network = unet()
    x, level = torch.randn(2, 1, 8, 8).double(), torch.zeros(2).double()
    before = network(x, level)
    lora.inject(network, LoRA(rank=1))
    assert torch.equal(network(x, level), before)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == set(lora.adapters(network))


def test_adapters_depend_on_the_seed_alone() -> None:
    def fresh(seed: int) -> dict[str, Tensor]:
        torch.rand(seed + 1)  # moves the global generator
        return lora.adapters(lora.inject(unet(), LoRA(), seed=seed))

    first, again, other = fresh(0), fresh(0), fresh(1)
    name = "first.lora_A.default.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    network = unet()
    torch.set_rng_state(state)
    lora.inject(network, LoRA())
    assert torch.equal(torch.get_rng_state(), state)


def test_targets_choose_layers() -> None:
    network = lora.inject(unet(), LoRA(targets=("encoders.*", "last")))
    adapted = {name for name, _ in lora.adapted(network)}
    assert "last" in adapted
    assert "first" not in adapted
    assert all(name == "last" or name.startswith("encoders.") for name in adapted)


def test_targets_that_match_nothing_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidOptionError, match=r"no_such.*first"):
        lora.inject(unet(), LoRA(targets=("no_such*",)))


def test_layers_that_an_adapter_cannot_follow_are_left_alone() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.Conv2d(4, 4, 3),
    )  # fmt: skip
    assert lora.matching(network, LoRA()) == ["3"]


def test_saved_adapters_load_into_the_network_they_were_trained_on(tmp_path: Path) -> None:
    network, config = unet(), LoRA(rank=2, targets=("encoders.*",))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    stirred(lora.inject(network, config))
    lora.save(network, config, tmp_path / "adapter")
    other = unet()
    other.load_state_dict(state)
    lora.load(other, tmp_path / "adapter")
    x, level = torch.randn(2, 1, 8, 8).double(), torch.zeros(2).double()
    assert torch.equal(other(x, level), network(x, level))


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_damaged_adapters_are_refused(tmp_path: Path, damage: str) -> None:
    network, config = unet(), LoRA(rank=2)
    lora.inject(network, config)
    lora.save(network, config, tmp_path / "a")
    fresh: Any = unet()
    path = tmp_path / "a" / "adapter.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        fresh = nn.Sequential(nn.Conv2d(1, 1, 3))
    with pytest.raises(CheckpointError, match="cannot use"):
        lora.load(fresh, tmp_path / "a")
