"""Make data/digits.npz, which train.py trains on, from the copy that scikit-learn ships; see data/README.md.

python scripts/make_digits.py
"""

import sys
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "data" / "digits.npz"


def main() -> int:
    """Write the file; its bytes are the same each time."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        print("make_digits.py needs scikit-learn. Install it with: pip install scikit-learn", file=sys.stderr)
        return 2
    digits = load_digits()
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(PATH, X=digits.data.astype(np.uint8), y=digits.target.astype(np.uint8))
    print(f"wrote {PATH.name}: {len(digits.target):,} digits, {PATH.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
