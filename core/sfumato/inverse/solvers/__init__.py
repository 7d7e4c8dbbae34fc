"""Solvers: drivers with a loop of their own, and guided sampling. One file each."""

from sfumato.inverse.solvers.admm import ADMM
from sfumato.inverse.solvers.daps import DAPS
from sfumato.inverse.solvers.ddnm import DDNMPlus
from sfumato.inverse.solvers.ddrm import DDRM
from sfumato.inverse.solvers.dps import NormDPS
from sfumato.inverse.solvers.gibbs import SplitGibbs
from sfumato.inverse.solvers.guided import Guided
from sfumato.inverse.solvers.reddiff import REDdiff
from sfumato.inverse.solvers.repaint import RePaint
from sfumato.inverse.solvers.twisted import Particles, TwistedSMC

__all__ = [
    "ADMM",
    "DAPS",
    "DDRM",
    "DDNMPlus",
    "Guided",
    "NormDPS",
    "Particles",
    "REDdiff",
    "RePaint",
    "SplitGibbs",
    "TwistedSMC",
]
