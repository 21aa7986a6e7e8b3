"""The suite of airspeed velocity (asv). In every figure lower is better, as asv takes it.

Its modules import what they measure from the folder above, by name, as the scripts there import each other. NumPy
computes on one thread (asv.conf.json): beside other processes a product by OpenBLAS's threads, which spin, may take
hundreds of times as long.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
