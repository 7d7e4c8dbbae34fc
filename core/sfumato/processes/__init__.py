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
from sfumato.processes.learned import Learned, Monotone
from sfumato.processes.manifolds import Manifold, Riemannian, Sphere, Torus
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
from sfumato.processes.spectral import Attenuation, Blur, Cosines, Fade, Heat, Spectral, Steady
from sfumato.processes.student import Student
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
    "Attenuation",
    "Blur",
    "Categorical",
    "Confusion",
    "Cosine",
    "CosineSurvival",
    "Cosines",
    "Dense",
    "Fade",
    "Flow",
    "FractionalBeta",
    "Gaussian",
    "Heat",
    "Hybrid",
    "Learned",
    "Level",
    "Levels",
    "LinearBeta",
    "LinearSurvival",
    "Manifold",
    "Marginal",
    "Mixing",
    "Monotone",
    "NearestNeighbour",
    "Number",
    "Product",
    "Rates",
    "Riemannian",
    "Scales",
    "Schedule",
    "Spectral",
    "Sphere",
    "Steady",
    "Steps",
    "Student",
    "SubVP",
    "Survival",
    "Table",
    "TableSurvival",
    "TokenLevel",
    "Torus",
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
