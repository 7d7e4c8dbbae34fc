"""Write under rules: a pattern, words that must and must not occur, a length.

python examples/write_under_rules.py
"""

import os
import re
from pathlib import Path

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
OUT = Path("out/write_under_rules")
OUT.mkdir(parents=True, exist_ok=True)

BEGINNING = "And the LORD said unto Moses, "
(OUT / "begun.txt").write_text(f"{BEGINNING}[---]\n")

text = sf.load_plugin("text")
task = text.operator(
    "constrain",
    pattern="[A-Z][a-z, ]*[.]",  # one sentence
    keyword=("bread",),
    never=("wine",),
    length="28-30" if SMOKE else "28-36",
    longest=36,
)
begun = text.read(OUT / "begun.txt")
result = sf.reconstruct(text.prior(), task, begun, n=2 if SMOKE else 6)

show = text.resolve(text.words)
for sample in result.samples:
    line = show(sample).rstrip("⏎")
    print(line)
    written = line.removeprefix(BEGINNING)
    assert re.fullmatch("[A-Z][a-z, ]*[.]", written)
    assert "bread" in written
    assert "wine" not in written
print(f"ln p(the beginning, and that the rules hold) = {result.log_evidence:.1f}")
