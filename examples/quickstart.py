"""Restore a scratched photograph: prior, operator, samples, report.

python examples/quickstart.py
"""

import os

import torch
from skimage import data

import sfumato as sf

SMOKE = bool(os.environ.get("SFUMATO_SMOKE"))
SIDE = 48 if SMOKE else 128

# a photograph with two scratches; as files they would come from image.read(...)
photo = torch.from_numpy(data.astronaut()[40 : 40 + SIDE, 180 : 180 + SIDE]) / 255
scratched = photo.permute(2, 0, 1).clone()
scratched[:, SIDE // 3 : SIDE // 3 + 3, 8:-8] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
scratched[:, 6:-10, SIDE // 2 : SIDE // 2 + 2] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]

image = sf.load_plugin("image")
task = image.operator("inpaint", colour="#ff00ff")
result = sf.reconstruct(
    image.prior(),
    task,
    sf.Signal(scratched),
    n=2 if SMOKE else 4,
    steps=4 if SMOKE else None,
    seed=0,
)
print(result)
print("report:", result.save("out/quickstart", overwrite=True) / "report.html")
