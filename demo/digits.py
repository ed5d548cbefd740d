"""Real data without a network: scikit-learn's digits (1797 scans of handwritten digits, 8x8), written out as PNG files.

Every demo reads these files, so that each has real input to wait for.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "digits"


def image_files() -> tuple[list[str], list[int]]:
    """Paths of the PNG files and their labels (0..9); writes them at the first call (about a second)."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    files = [str(FOLDER / f"{i:04d}-{label}.png") for i, label in enumerate(digits.target)]
    if not os.path.exists(files[-1]):
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, image in zip(files, digits.images, strict=True):
            Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((32, 32)).save(name)
    return files, [int(label) for label in digits.target]
