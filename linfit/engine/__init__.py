"""Run fits. Importing this package sets environment variables that libraries read only once.

They must be set before a library's first product. MKL_CBWR keeps MKL's kernels from changing with
memory alignment; cuBLAS gives the same bits each time only with a fixed workspace.
"""

import os
import sys

#: False if torch was there before, so that MKL may have been used.
IS_MKL_SET_IN_TIME = "torch" not in sys.modules or "MKL_CBWR" in os.environ

os.environ.setdefault("MKL_CBWR", "AUTO")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
