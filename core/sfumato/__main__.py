"""``python -m sfumato`` is the command ``sfumato``."""

from __future__ import annotations

import sys

from sfumato.cli import main

__all__: list[str] = []

sys.exit(main())
