"""Run fits. Importing this package sets environment variables that libraries read only once.

They must be set before a library's first product. MKL_CBWR keeps MKL's kernels from changing with
memory alignment; cuBLAS gives the same bits each time only with a fixed workspace.
"""

import os

os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
