"""Benchmarks: the suite of airspeed velocity (asv), and scripts that run by themselves.

The modules import each other by name, whether they run as scripts or are imported by asv.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
