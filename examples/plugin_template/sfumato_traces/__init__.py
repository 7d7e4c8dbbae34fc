"""Seismic traces for sfumato: one channel, one number per time sample."""

from sfumato.plugin import Plugin

__all__ = ["PLUGIN"]

PLUGIN = Plugin(
    name="traces",
    summary="Seismic traces: undo the source wavelet.",
    install="sfumato-traces",
    formats={"trace": "sfumato_traces.formats:Trace"},
    operators={"deconvolve": "sfumato_traces.operators:Deconvolve"},
    backbones={"unet": "sfumato.networks:UNet"},
    datasets={"folder": "sfumato_traces.datasets:Traces"},
)
