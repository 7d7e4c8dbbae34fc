"""What a plugin's author tests: the contract, and one reconstruction from file to file."""

import math

import pytest
import torch

import sfumato as sf
from sfumato.testing import check_plugin
from sfumato_traces import PLUGIN
from sfumato_traces.datasets import Traces, fresh, synthetic
from sfumato_traces.formats import Trace
from sfumato_traces.operators import ricker


def test_the_plugin_keeps_its_contract():
    tasks = [PLUGIN.operator("deconvolve"), PLUGIN.operator("deconvolve", frequency=50, noise=0.1)]
    check_plugin(PLUGIN, signal=synthetic(0, length=65), tasks=tasks)


def test_it_is_installed_as_a_plugin():
    assert sf.load_plugin("traces") is PLUGIN


def test_a_wavelet_has_unit_energy_and_almost_no_mean():
    wavelet = ricker(30.0, 0.002)
    assert wavelet.norm().item() == pytest.approx(1.0)
    assert abs(wavelet.sum().item()) < 0.01 * wavelet.abs().sum().item()


def test_a_trace_is_reconstructed_from_file_to_file(tmp_path):
    task = PLUGIN.operator("deconvolve", noise=0.05)
    PLUGIN.write(sf.degrade(task, synthetic(1)), tmp_path / "recorded.trace")
    recorded = PLUGIN.read(tmp_path / "recorded.trace")
    result = sf.reconstruct(fresh(), task, recorded, n=2, steps=4)
    assert result.samples.shape == (2, 1, 128)
    assert math.isfinite(result.chi2.mean().item())
    result.save(tmp_path / "out")
    assert PLUGIN.read(tmp_path / "out" / "restored.trace").data.shape == (1, 128)


def test_a_stretch_of_a_trace_is_an_item(tmp_path):
    for index in range(3):
        Trace().write(synthetic(index), tmp_path / f"{index}.trace")
    traces = Traces(tmp_path, length=64)
    item = traces.item(1, torch.Generator().manual_seed(0))
    windows = synthetic(1).data[0].unfold(0, 64, 1)
    assert len(traces) == 3
    assert (windows == item).all(dim=1).any()


def test_a_folder_without_traces_is_an_error(tmp_path):
    with pytest.raises(sf.errors.InvalidOptionError, match=r"holds no \.trace file"):
        Traces(tmp_path)
