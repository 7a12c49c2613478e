import subprocess
import sys

HEAVY = {"torch", "faiss", "numba", "openTSNE", "sklearn", "scipy", "pynndescent", "pyarrow"}


def loaded_by(statement):
    """Names of the heavy packages that a new interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_fastclust_loads_nothing_heavy():
    assert loaded_by("import fastclust") == set()


def test_importing_the_client_loads_nothing_heavy():
    assert loaded_by("from fastclust.client import Client") == set()


def test_the_probe_sees_a_heavy_package():
    assert "scipy" in loaded_by("import scipy")


def test_every_public_name_resolves():
    """The stub names only what exists."""
    code = "import fastclust as fc\nfor name in dir(fc):\n    getattr(fc, name)\nprint(len(dir(fc)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15
