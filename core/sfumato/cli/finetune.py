"""``sfumato finetune PLUGIN DATA --out DIR``: train a prior further on other data."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from sfumato.cli.answers import Answer
from sfumato.cli.options import COMMON, SAVE, Common, PluginName, PriorName, Save, literals
from sfumato.cli.reconstruct import load_prior
from sfumato.errors import UnknownNameError
from sfumato.registry import load_plugin
from sfumato.training.configs import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.plugin import Plugin
    from sfumato.priors import Prior

__all__ = ["finetune"]

TRAINING = Group("Training", sort_key=10)


def finetune(
    plugin: PluginName,
    data: Annotated[Path, Parameter(help="File or folder to train on.")],
    *,
    out: Annotated[Path, Parameter(help="Folder of the new prior.")],
    prior: PriorName = None,
    resume: Annotated[
        bool, Parameter(help="Go on where a run in --out stopped.", negative=())
    ] = False,
    train: Annotated[TrainConfig, Parameter(name="*", group=TRAINING)] = TrainConfig(),  # noqa: B008 - frozen
    dataset: Annotated[
        dict[str, str] | None,
        Parameter(help="Options of the plugin's data set, as --dataset.NAME VALUE."),
    ] = None,
    tracker: Annotated[
        str, Parameter(help="Where curves go, by accelerate: tensorboard, wandb; '' for nowhere.")
    ] = "tensorboard",
    device: Annotated[
        str,
        Parameter(help="Such as cpu or cuda:1; auto is CUDA where there is one, else the CPU."),
    ] = "auto",
    save: Save = SAVE,
    common: Common = COMMON,
) -> Answer | None:
    """Train a prior further on other data.

    The folder becomes a prior like any other: use it with --prior DIR. --lora.rank 8 trains
    low-rank adapters in place of all weights. A run that was stopped goes on with --resume. What
    counts rather than learns, such as n-grams, counts the data besides what it knows, in seconds.
    """
    domain = load_plugin(plugin)
    model = load_prior(domain, prior)
    examples = open_dataset(domain, data, literals(dataset), model)
    from sfumato.training.driver import check_out
    from sfumato.training.driver import finetune as train_prior

    check_out(out, resume=resume, overwrite=save.overwrite)

    tuned = train_prior(
        model,
        examples,
        out=out,
        config=train,
        resume=resume,
        overwrite=save.overwrite,
        draw=lambda samples, path: write_samples(domain, model, samples, path),
        tracker=tracker,
        progress=common.bar,
        device=device,
    )
    if int(os.environ.get("RANK", "0")):  # one of several processes answers
        return None
    training = dict(tuned.card.get("training", {}))
    data_card = {"command": "finetune", "out": out, "items": len(examples), "training": training}
    score, bits = training.get("validation_loss"), training.get("bits_per_token")
    loss = "" if score is None else f", validation loss {score:.4g}"
    loss = loss if bits is None else f", {bits:.3f} bits per token on what was held out"
    return Answer(data_card, (f"{out}: {tuned!r}{loss}", f"Use it with --prior {out}"))


def write_samples(plugin: Plugin, prior: Prior, samples: Tensor, folder: Path) -> None:
    """Samples of the prior in training, as files of the domain."""
    from sfumato.signals import Signal
    from sfumato.token_priors import TokenPrior

    suffix = plugin.part("formats", next(iter(plugin.formats)))().suffixes[0]
    folder.mkdir(parents=True, exist_ok=True)
    for index, x in enumerate(samples):
        tokens = isinstance(prior, TokenPrior)
        codec: Any = prior.codec
        signal = codec.to_signal(codec.decode(x.cpu())) if tokens else Signal(x.cpu())
        plugin.write(signal, folder / f"{index:03d}{suffix}")


def open_dataset(plugin: Plugin, path: Path, options: dict[str, Any], prior: Prior) -> Any:
    """The plugin's data set over ``path``; in the tokens of the prior, if it has some.

    Raises:
        UnknownNameError: If it has no such option.
    """
    from sfumato.token_priors import TokenPrior

    kind = plugin.part("datasets", next(iter(plugin.datasets), ""))
    known = [name for name in list(inspect.signature(kind).parameters)[1:] if name != "codec"]
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of {plugin.name} data", name, known)
    codec = {"codec": prior.codec} if isinstance(prior, TokenPrior) else {}
    return plugin.dataset(path, **options, **codec)
