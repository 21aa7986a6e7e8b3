"""
A training that can be restarted
================================

Long trainings are killed: by a time limit, by a power cut, by somebody else. A `Checkpoint` saves network, optimizer,
generator and the place within the epoch. The file is replaced in one go, so that it is whole at any moment. A fit that
is resumed ends with the bits of one that never stopped. This needs the extra ``save``.
"""

import os
import subprocess
import sys

import numpy as np

from fastprop import Adam, Network

SCRIPT = """
import os, sys
import numpy as np
from fastprop import Adam, Checkpoint, Network

rng = np.random.default_rng(0)
X = rng.standard_normal((5000, 20))
Y = np.sin(X.sum(axis=1))

if os.path.exists("run.safetensors"):
    net = Network.load("run.safetensors")
else:
    net = Network((20, 64, 1), rng=0)


def stop(steps, history):
    if "killed" in sys.argv and steps >= 1000:
        os._exit(1)  # as a power cut would


net.fit(
    X, Y, epochs=40, optimizer=Adam(), resume=True, progress=False,
    callbacks=[Checkpoint("run.safetensors", every=100), (50, stop)],
)
net.save("run.safetensors")
"""

# %%
# The same script is started again until it is through; the same line begins the fit and goes on with it. Its first run
# is killed after 1,000 steps:

for arguments in (["killed"], []):
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=False)
    print(f"exit code {done.returncode}")

# %%
# Here is the same training without an interruption:

rng = np.random.default_rng(0)
X = rng.standard_normal((5000, 20))
Y = np.sin(X.sum(axis=1))
whole = Network((20, 64, 1), rng=0)
whole.fit(X, Y, epochs=40, optimizer=Adam(), progress=False)

resumed = Network.load("run.safetensors")
same = np.array_equal(resumed.parameters, whole.parameters)
print(f"the same bits: {same}")
assert same
os.remove("run.safetensors")
