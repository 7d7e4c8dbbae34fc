"""Priors from and to the diffusers library: folders that hold a ``UNet2DModel`` and a scheduler.

    model_index.json      optional
    unet/                 config.json, diffusion_pytorch_model.safetensors or .bin
    scheduler/            scheduler_config.json

The scheduler's table of ᾱ becomes a ``Table`` process: its step n is time (n + 1)/N, and the
network is told n. Its ``prediction_type`` names the row of the parametrisation table,
``clip_sample`` the range of x₀. Twice as many outputs as inputs are the interpolated variances of
improved DDPM. Pictures of such networks are 2x − 1 for x in [0, 1].

A pipeline's timesteps become a grid with ``grid_from_timesteps``, so that the same steps are taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sfumato.codecs import Affine
from sfumato.denoisers import Preconditioned
from sfumato.errors import CheckpointError, UnsupportedError
from sfumato.files import atomic_folder
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Table
from sfumato_image.backbones import DiffusersUNet2D, diffusers
from sfumato_image.schedulers import first_line, grid_from_timesteps, silent, table

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["from_diffusers", "grid_from_timesteps", "to_diffusers"]

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
CODEC = Affine(shift=0.5, scale=0.5)
WEIGHTS = "diffusion_pytorch_model"


def from_diffusers(folder: str | Path) -> Prior:
    """Converts a diffusers folder.

    Args:
        folder: Holds ``unet/`` and ``scheduler/``, of a pipeline such as ``DDPMPipeline``.

    Raises:
        CheckpointError: If it is incomplete, damaged, of another kind of pipeline, or its
            scheduler has no table of β.
        MissingDependencyError: If diffusers is not installed.
    """
    library = diffusers()
    root = Path(folder)
    check_pipeline(root)
    settings = read_json(root / "scheduler" / "scheduler_config.json")
    read_json(root / "unet" / "config.json")
    process = Gaussian(table(root, settings))
    unet = load_unet(library, root / "unet")
    config = {key: value for key, value in dict(unet.config).items() if key != "_name_or_path"}
    prediction = settings.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise CheckpointError(
            root, f"it predicts '{prediction}'", f"known: {', '.join(PREDICTIONS)}"
        )
    classes = int(config.get("num_class_embeds") or 0)
    options: dict[str, Any] = {"config": plain(config), "classes": classes}
    network = DiffusersUNet2D(**options)
    network.unet.load_state_dict(unet.state_dict())
    network.eval().requires_grad_(False)
    limit = float(settings.get("clip_sample_range", 1.0))
    denoiser = Preconditioned(
        network,
        process,
        prediction=PREDICTIONS[prediction],
        noise_label="step",
        head=head(root, config, settings),
        range=(-limit, limit) if settings.get("clip_sample", True) else None,
    )
    return Prior(
        denoiser=denoiser,
        codec=CODEC,
        shape=(int(config["in_channels"]), *size(config)),
        plugin="image",
        backbone="diffusers-unet2d",
        options=options,
        card={"name": root.resolve().name, "from": "diffusers", "scheduler": plain(settings)},
    )


def to_diffusers(prior: Prior, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a folder that ``DDPMPipeline.from_pretrained`` and ``DDIMPipeline`` read.

    Args:
        prior: One with a diffusers network and a ``Table`` process.
        folder: Where to.
        overwrite: Whether an existing, non-empty folder may be replaced.

    Raises:
        UnsupportedError: If the prior cannot be expressed in diffusers.
        OutputExistsError: If the folder is in use.
    """
    library = diffusers()
    network, schedule = prior.network, prior.process.schedule
    names = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    if (
        not isinstance(network, DiffusersUNet2D)
        or not isinstance(schedule, Table)
        or prior.denoiser.prediction not in names
        or prior.denoiser.noise_label != "step"
    ):
        raise UnsupportedError(
            "to_diffusers", "a diffusers network on a table of steps",
            f"this prior has a {type(network).__name__} on {type(schedule).__name__}",
        )  # fmt: skip
    if prior.codec != CODEC:
        raise UnsupportedError(
            "to_diffusers", f"the codec {CODEC}", f"this prior has {prior.codec}"
        )
    clip = prior.denoiser.range
    settings = {
        **scheduler_settings(prior, schedule),
        "prediction_type": names[prior.denoiser.prediction],
        "clip_sample": clip is not None,
        "clip_sample_range": clip[1] if clip else 1.0,
    }
    if prior.denoiser.head:
        settings["variance_type"] = "learned_range"
    scheduler = library.DDPMScheduler.from_config(settings)
    with atomic_folder(folder, overwrite=overwrite) as target:
        save: Any = network.unet.save_pretrained
        save(target / "unet")
        scheduler.save_pretrained(target / "scheduler")
        index = {
            "_class_name": "DDPMPipeline",
            "_diffusers_version": library.__version__,
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        }
        (target / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    return Path(folder)


def check_pipeline(root: Path) -> None:
    if not root.is_dir():
        raise CheckpointError(root, "there is no such folder")
    for name in ("unet", "scheduler"):
        if not (root / name).is_dir():
            raise CheckpointError(
                root, f"it has no folder '{name}'", "expected one written by DDPMPipeline"
            )
    if (root / "model_index.json").is_file():
        index = read_json(root / "model_index.json")
        others = [
            key for key in index if not key.startswith("_") and key not in ("unet", "scheduler")
        ]
        if others:
            raise CheckpointError(
                root, f"{index.get('_class_name', 'the pipeline')} has {', '.join(others)} too",
                "only networks that work on pixels can be converted",
            )  # fmt: skip


def scheduler_settings(prior: Prior, schedule: Table) -> dict[str, Any]:
    """The configuration the prior came with if it still gives its table, else the table itself."""
    bars = torch.tensor(schedule.alphas_cumprod, dtype=torch.float64)
    known = dict(prior.card.get("scheduler", {}))
    if known and table(Path(), known) == schedule:
        return {key: value for key, value in known.items() if not key.startswith("_")}
    previous = torch.cat([bars.new_ones(1), bars[:-1]])
    betas = (1 - bars / previous).tolist()
    return {"num_train_timesteps": len(betas), "trained_betas": betas}


def load_unet(library: ModuleType, folder: Path) -> Any:
    """The network with every weight accounted for (diffusers only warns about missing ones)."""
    names = [path.name for path in folder.glob(f"{WEIGHTS}*")]
    if not names:
        raise CheckpointError(folder, f"there is no {WEIGHTS}.safetensors or .bin")
    variant = None if any(name.count(".") == 1 or "index" in name for name in names) else "fp16"
    try:
        with silent():
            unet, report = library.UNet2DModel.from_pretrained(
                folder, local_files_only=True, low_cpu_mem_usage=False, variant=variant,
                torch_dtype=torch.float32, output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # from a dozen libraries: safetensors, pickle, json, torch
        raise CheckpointError(folder, f"it is damaged ({first_line(error)})") from error
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(key):
            found = list(report[key])
            raise CheckpointError(
                folder, f"{len(found)} {key.replace('_', ' ')}, such as {found[0]}"
            )
    if not all(bool(torch.isfinite(p).all()) for p in unet.parameters()):
        raise CheckpointError(folder, "its weights are not finite")
    return unet


def head(root: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """What the second half of the output channels is."""
    before, after = config["in_channels"], config["out_channels"]
    if after == before:
        return ""
    if after == 2 * before and settings.get("variance_type") != "learned":
        return "interpolation"
    raise CheckpointError(
        root, f"the network has {before} input and {after} output channels",
        "expected as many, or twice as many with variance_type 'learned_range'",
    )  # fmt: skip


def size(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Height and width the network was made for."""
    side = config.get("sample_size")
    if side is None:
        return None, None
    height, width = (side, side) if isinstance(side, int) else side
    return int(height), int(width)


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(path.parent, f"{path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"it is damaged ({first_line(error)})") from error
    if not isinstance(found, dict):
        raise CheckpointError(path, "it is damaged (not a table)")
    return found


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON would return it."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found
