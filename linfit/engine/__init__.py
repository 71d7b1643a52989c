"""Solving it. What must stand in the environment before a library's first product stands here.

MKL_CBWR keeps MKL's kernels from changing with memory alignment; cuBLAS gives the same bits each time only with a fixed workspace.
"""

import os

os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
