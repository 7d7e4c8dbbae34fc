"""Fill the gaps of a damaged page, of known and unknown length, with ranked readings.

python examples/fill_gaps.py
"""

import os
from pathlib import Path

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
OUT = Path("out/fill_gaps")
OUT.mkdir(parents=True, exist_ok=True)

PAGE = """\
It is better to dwell in the wilder[....], than with a contentious and an angry woman.
A wise man scaleth the city of the mi[.....] and casteth down the strength thereof.
Whoso keepeth his mouth and his [---] keepeth his soul from troubles.
"""
(OUT / "damaged.txt").write_text(PAGE)

text = sf.load_plugin("text")
task = text.operator("fill", longest=6 if SMOKE else 14)  # of the gap whose length nobody knows
damaged = text.read(OUT / "damaged.txt")
result = sf.reconstruct(text.prior(), task, damaged, n=4)

show = text.resolve(text.words)
for place in result.alternatives:
    best = zip(place.readings[:3], place.probabilities, strict=False)
    print(f"{place.where}: " + ", ".join(f"{show(x)!r} {100 * p:.0f} %" for x, p in best))

folder = result.save(OUT / "result", overwrite=True)
restored = (folder / "restored.txt").read_text()
print(restored)

kept = restored.split("[")[0]
assert PAGE.startswith(kept)  # what was read comes back byte by byte
