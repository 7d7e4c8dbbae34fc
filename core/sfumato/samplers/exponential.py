"""The exponential multistep solver, of which most fast samplers are settings.

    prediction  coordinate  order  corrector  η
    either      –           1      no         0   DDIM, Euler for flows, α-blending
    eps         log-snr     2, 3   no         0   DPM-Solver (multistep); DEIS in ln ρ
    x0          log-snr     2, 3   no         0   DPM-Solver++ (2M, 3M)
    eps         time        k + 1  no         0   tAB-DEIS of k-th degree (Zhang & Chen, 2023)
    eps         ratio       k + 1  no         0   ρAB-DEIS
    eps         index       4      no         0   iPNDM (Liu et al., 2022)
    x0 or eps   log-snr     1–3    yes        0   UniPC (Zhao et al., 2023)
    eps         log-snr     1–3    no         1   SEEDS (Gonzalez et al., 2023)
    x0          log-snr     1–3    yes        >0  SA-Solver (Xue et al., 2023)

The polynomial goes through the newest estimates. A corrector repeats the last step once its end
has been evaluated, with that evaluation among the nodes and with the same noise: the order rises
by one and no evaluation is added.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.samplers.base import Denoise, Sampler, continues
from sfumato.samplers.exponentials import Form, Node

__all__ = ["Exponential"]


@dataclass(frozen=True)
class Exponential(Sampler):
    """One evaluation per step.

    The first steps, for lack of history, and the last, to clean data, are of lower order.

    Args:
        order: Nodes of the polynomial, 1 to 4.
        prediction: ``"x0"`` or ``"eps"``.
        coordinate: ``"log-snr"``, ``"time"``, ``"ratio"`` or ``"index"``.
        corrector: Whether each step is corrected.
        eta: 0 solves the ODE, 1 the reverse SDE.
        rule: ``"exact"``, or B(h) of UniPC: ``"bh1"``, ``"bh2"``.

    Raises:
        InvalidOptionError: If an option is none of these.
    """

    order: int = 2
    prediction: str = "x0"
    coordinate: str = "log-snr"
    corrector: bool = False
    eta: float = 0.0
    rule: str = "exact"
    form: Form = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.order not in {1, 2, 3, 4}:
            raise InvalidOptionError("exponential solver", f"order={self.order}", "use 1 to 4")
        form = Form(self.prediction, self.coordinate, self.eta, self.rule)
        object.__setattr__(self, "form", form)

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        value = self.form.value(denoise(x_t, t), x_t, t)
        # with a corrector the last entry is the base of the step that led to t
        base = history.pop() if self.corrector and history else None
        if not continues(history, t, s):
            history.clear()
        if base is not None and history:
            past = [*nodes(history), Node(t, value, 1.0)]
            x_t = self.form.finish(base[1], history[-1][0], t, past)
        history.append((t, value))
        del history[: -self.order]
        if s.clean:
            return self.form.clean(value, x_t, t)
        start = self.form.base(x_t, t, s, streams)
        x_s = self.form.finish(start, t, s, nodes(history))
        if self.corrector:
            history.append((s, start))
        return x_s


def nodes(history: list[tuple[Level, Tensor]]) -> list[Node]:
    """The history as nodes: the newest has place 0, those before it −1, −2 and so on."""
    last = len(history) - 1
    return [Node(level, value, float(i - last)) for i, (level, value) in enumerate(history)]
