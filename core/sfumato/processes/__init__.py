"""How data becomes noise."""

from sfumato.processes.gaussian import Gaussian, Level, Number, Scales, combine, like
from sfumato.processes.grids import karras, log_snr, uniform
from sfumato.processes.schedules import (
    EDM,
    VE,
    VP,
    Cosine,
    Flow,
    LinearBeta,
    Schedule,
    SubVP,
    Table,
)

__all__ = [
    "EDM",
    "VE",
    "VP",
    "Cosine",
    "Flow",
    "Gaussian",
    "Level",
    "LinearBeta",
    "Number",
    "Scales",
    "Schedule",
    "SubVP",
    "Table",
    "combine",
    "karras",
    "like",
    "log_snr",
    "uniform",
]
