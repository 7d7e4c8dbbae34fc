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
from sfumato.files import check_folder
from sfumato.registry import load_plugin
from sfumato.training.configs import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.plugin import Plugin

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
    save: Save = SAVE,
    common: Common = COMMON,
) -> Answer | None:
    """Train a prior further on other data.

    The folder becomes a prior like any other: use it with --prior DIR. --lora.rank 8 trains
    low-rank adapters in place of all weights. A run that was stopped goes on with --resume.
    """
    domain = load_plugin(plugin)
    model = load_prior(domain, prior)
    examples = open_dataset(domain, data, literals(dataset))
    check_folder(out, overwrite=save.overwrite or resume)
    from sfumato.training.driver import finetune as train_prior

    tuned = train_prior(
        model,
        examples,
        out=out,
        config=train,
        resume=resume,
        overwrite=save.overwrite,
        draw=lambda samples, path: write_samples(domain, samples, path),
        tracker=tracker,
        progress=common.bar,
    )
    if int(os.environ.get("RANK", "0")):  # one of several processes answers
        return None
    training = dict(tuned.card.get("training", {}))
    data_card = {"command": "finetune", "out": out, "items": len(examples), "training": training}
    score = training.get("validation_loss")
    loss = "" if score is None else f", validation loss {score:.4g}"
    return Answer(data_card, (f"{out}: {tuned!r}{loss}", f"Use it with --prior {out}"))


def write_samples(plugin: Plugin, samples: Tensor, folder: Path) -> None:
    """Samples of the prior in training, as files of the domain."""
    from sfumato.signals import Signal

    suffix = plugin.part("formats", next(iter(plugin.formats)))().suffixes[0]
    folder.mkdir(parents=True, exist_ok=True)
    for index, x in enumerate(samples):
        plugin.write(Signal(x.cpu()), folder / f"{index:03d}{suffix}")


def open_dataset(plugin: Plugin, path: Path, options: dict[str, Any]) -> Any:
    """The plugin's data set over ``path``.

    Raises:
        UnknownNameError: If it has no such option.
    """
    kind = plugin.part("datasets", next(iter(plugin.datasets), ""))
    known = list(inspect.signature(kind).parameters)[1:]
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of {plugin.name} data", name, known)
    return plugin.dataset(path, **options)
