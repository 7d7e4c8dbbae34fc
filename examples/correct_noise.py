"""Correct misread characters, keep what is right, and see what was won.

python examples/correct_noise.py
"""

import os
from pathlib import Path

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
OUT = Path("out/correct_noise")
OUT.mkdir(parents=True, exist_ok=True)

VERSES = """\
The man that wandereth out of the way of understanding shall remain in the congregation of the dead.
He that loveth pleasure shall be a poor man: he that loveth wine and oil shall not be rich.
The wicked shall be a ransom for the righteous, and the transgressor for the upright.
"""
(OUT / "clean.txt").write_text(VERSES.splitlines(keepends=True)[0] if SMOKE else VERSES)

text = sf.load_plugin("text")
prior = text.prior()
clean = text.read(OUT / "clean.txt")
noise = text.operator("restore", channel="ocr", rate=0.1, foreign="noise")
damaged = sf.degrade(noise, clean, seed=1)
text.write(damaged, OUT / "noisy.txt")

# the share of wrong characters need not be known; below 0.8 the input stays as it is
task = text.operator("restore", channel="ocr", foreign="noise", confidence=0.8)
result = sf.reconstruct(prior, task, text.read(OUT / "noisy.txt"), n=4)
folder = result.save(OUT / "result", overwrite=True)

print((OUT / "noisy.txt").read_text())
print((folder / "restored.txt").read_text())
print(*result.record["notes"], sep="\n")
cer = text.part("metrics", "cer")
for what, data in {"noisy": damaged.data, "restored": result.estimate}.items():
    print(f"{what}: {100 * float(cer(data, clean.data)):.1f} % of the characters are wrong")
print(f"expected by the posterior: {result.expected_errors:.1f} wrong characters")
