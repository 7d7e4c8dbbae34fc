"""How data becomes noise."""

from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.processes.channels import Confusion, NearestNeighbour
from sfumato.processes.fractional import FractionalBeta
from sfumato.processes.gaussian import Gaussian, Level, Number, Scales, combine, like
from sfumato.processes.grids import (
    karras,
    log_snr,
    quadratic,
    uniform,
    var_linear,
    var_quadratic,
)
from sfumato.processes.matrix import Dense, Rates, Steps
from sfumato.processes.mixing import Absorbing, Hybrid, Marginal, Mixing, Uniform
from sfumato.processes.product import Levels, Product
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
from sfumato.processes.survivals import (
    CosineSurvival,
    LinearSurvival,
    Survival,
    TableSurvival,
)

__all__ = [
    "EDM",
    "VE",
    "VP",
    "Absorbing",
    "Categorical",
    "Confusion",
    "Cosine",
    "CosineSurvival",
    "Dense",
    "Flow",
    "FractionalBeta",
    "Gaussian",
    "Hybrid",
    "Level",
    "Levels",
    "LinearBeta",
    "LinearSurvival",
    "Marginal",
    "Mixing",
    "NearestNeighbour",
    "Number",
    "Product",
    "Rates",
    "Scales",
    "Schedule",
    "Steps",
    "SubVP",
    "Survival",
    "Table",
    "TableSurvival",
    "TokenLevel",
    "Uniform",
    "combine",
    "karras",
    "like",
    "log_snr",
    "quadratic",
    "uniform",
    "var_linear",
    "var_quadratic",
]
