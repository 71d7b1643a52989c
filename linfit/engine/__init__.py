"""Solving it. Setting MKL_CBWR before MKL's first product keeps its kernels from changing with memory alignment."""

import os

os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
