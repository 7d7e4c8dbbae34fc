"""Every installed plugin keeps the contract, first-party or not."""

from __future__ import annotations

import pytest

import sfumato as sf
from sfumato.testing import check_plugin


@pytest.mark.parametrize("name", sorted(sf.plugins()))
def test_an_installed_plugin_keeps_its_contract(name: str) -> None:
    check_plugin(sf.load_plugin(name))
