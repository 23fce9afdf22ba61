"""`python -m workers.begin MODULE ...` runs a worker's module, with nothing collected while it imports.

Imports make some hundred thousand objects and no garbage: looking for it is a fifth of a worker's start, which is the time that
callers wait after a crash. `workers.process.settle_memory` turns the collector on again.
"""

from __future__ import annotations

import gc
import runpy
import sys

if __name__ == "__main__":
    gc.disable()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
