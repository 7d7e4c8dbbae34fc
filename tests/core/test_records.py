"""The record of a run holds what is needed to repeat it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import torch

from sfumato.records import file_hash, recorded_command, run_record, versions


def test_a_file_s_hash_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    assert file_hash(path) == hashlib.sha256(b"content").hexdigest()


def test_the_record_has_command_seed_versions_platform_and_hashes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    record = run_record(seed=0, inputs=[path], hashes={"prior": "12"})
    assert set(record) == {"command", "seed", "versions", "platform", "hashes"}
    assert record["seed"] == 0
    assert record["hashes"] == {"prior": "12", str(path): hashlib.sha256().hexdigest()}


def test_the_versions_are_those_that_run() -> None:
    assert versions()["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def test_the_command_is_quoted_so_that_it_can_be_pasted() -> None:
    with recorded_command(["degrade", "a b.png"]):
        assert run_record()["command"] == "sfumato degrade 'a b.png'"


def test_outside_of_a_command_the_script_is_recorded() -> None:
    with recorded_command(["plugins"]):
        pass
    assert run_record()["command"] != "sfumato plugins"


def test_records_and_configurations_import_no_torch() -> None:
    code = "import sys, sfumato.config, sfumato.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
