import subprocess
import sys

PROBE = """
import time
start = time.perf_counter()
import grpc, numpy
middle = time.perf_counter()
from fastclust.client import Client
print(time.perf_counter() - middle)
"""


def test_the_import_adds_little_to_grpc_and_numpy():
    """The target is 0.3 s; the bound is five times that, for busy machines."""
    seconds = min(
        float(subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    print(f"import fastclust.client: {seconds:.3f} s more than grpc and numpy")
    assert seconds < 1.5
