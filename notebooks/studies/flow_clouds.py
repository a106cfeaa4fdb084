"""Flow matching from nothing on the six clouds, three seeds: points, network, steps and measures are those of
`toy_wasserstein.py`; only the path is straight, and the network says the velocity.  Drawn with Euler's steps.
"""

import sys

import toy_wasserstein

from minidiff.diffusion import ddim_step
from minidiff.models import PointConfig
from minidiff.tools import budget

if __name__ == "__main__":
    toy_wasserstein.main(sys.argv[1] if len(sys.argv) > 1 else None, __file__,
                         PointConfig(schedule="straight", predicts="velocity"), budget(100, 100, 5), ddim_step)
