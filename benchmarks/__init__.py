"""Benchmarks: the suite of airspeed velocity, and beside it what can be run by itself.

The modules find each other by name, run as a script or imported by asv.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
