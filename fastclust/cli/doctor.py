"""``fastclust doctor``: what was found on this machine, which backend each operation would take, and why not others."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fastclust import __version__
from fastclust.cli.output import print_json, tables
from fastclust.errors import FastclustError

__all__ = ["doctor", "examine"]

_PACKAGES = {
    "numpy": "", "scipy": "", "scikit-learn": "", "numba": "", "torch": "", "openTSNE": "", "pynndescent": "",
    "grpcio": "", "protobuf": "", "pyarrow": "", "safetensors": "",
    "cupy-cuda12x": 'only for GPUs: pip install "fastclust[gpu]"',
    "triton": "only for GPUs: comes with torch's CUDA builds",
    "ray": 'only for clusters: pip install "fastclust[ray]"',
    "sqlalchemy": 'only for the server: pip install "fastclust[server]"',
}  # fmt: skip


def doctor(*, json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what was found: machine, packages, and for each operation the backend that would run."""
    found = examine()
    if json:
        print_json(found)
        return
    console = tables()
    for title in ("machine", "packages", "threads", "faiss", "data sets"):
        table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2))
        for name, value in found[title].items():
            # Brackets are part of what is said, such as fastclust[gpu].
            table.add_row(name, escape(str(value)))
        console.print(table)
    table = Table("operation", "backend", "", "why not", title="backends", title_justify="left", box=None)
    for row in found["backends"]:
        table.add_row(
            row["operation"], row["backend"], "chosen" if row["chosen"] else "", escape("; ".join(row["reasons"]))
        )
    console.print(table)


def examine() -> dict[str, Any]:
    """Return everything that ``doctor`` prints."""
    return {
        "fastclust": __version__,
        "machine": _machine(),
        "packages": {name: _version(name) or f"not installed{_hint(hint)}" for name, hint in _PACKAGES.items()},
        "threads": _threads(),
        "faiss": _faiss(),
        "data sets": _data_sets(),
        "backends": _backends(),
    }


def _hint(hint: str) -> str:
    return f" ({hint})" if hint else ""


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = shutil.disk_usage(Path.cwd()).free
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{memory / 2**30:.1f} GiB",
        "disk": f"{free / 2**30:.1f} GiB free here",
        "gpu": _gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    features = {key.strip(): value for key, value in about.items()}
    flags = set(features.get("flags", "").split())
    wide = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    return f"{features.get('model name', 'unknown').strip()} ({', '.join(wide) or 'no wide vectors'})"


def _gpu() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "none (no nvidia-smi)"
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 - found above
    return (
        done.stdout.strip().replace("\n", "; ") if done.returncode == 0 and done.stdout.strip() else "none that answers"
    )


def _threads() -> dict[str, Any]:
    try:
        import numba
        import numpy as np
        import scipy.linalg  # noqa: F401 - so that its BLAS is seen
        from threadpoolctl import threadpool_info

        from fastclust_kernels.assign import assign
        from fastclust_kernels.dispatch import threading_layer

        # The layer is known once a parallel kernel ran.
        assign(np.zeros((2, 2)), np.zeros((1, 2)))
        pools = [
            f"{pool['internal_api']} {pool.get('version') or ''} x{pool['num_threads']}".replace("  ", " ")
            for pool in threadpool_info()
        ]
        return {
            "numba": f"{numba.get_num_threads()} threads, {threading_layer()} layer",
            "libraries": ", ".join(sorted(set(pools))),
        }
    except ImportError as error:
        return {"numba": f"not usable: {error}"}


def _faiss() -> dict[str, Any]:
    from fastclust.neighbors.packages import faiss, faiss_distribution

    try:
        name = faiss_distribution()
        module = faiss()
    except FastclustError as error:
        return {"faiss": str(error)}
    gpus = module.get_num_gpus() if hasattr(module, "get_num_gpus") else 0
    return {
        "wheel": f"{name} {_version(name) if name else module.__version__}",
        "build": module.get_compile_options().strip() if hasattr(module, "get_compile_options") else "unknown",
        "gpus": gpus,
    }


def _data_sets() -> dict[str, str]:
    from fastclust.data.builtin import FASHION_FOLDER

    there = FASHION_FOLDER.is_dir()
    missing = "not installed (Debian: apt-get install dataset-fashion-mnist)"
    return {"digits": "with scikit-learn", "fashion-mnist": str(FASHION_FOLDER) if there else missing}


def _backends() -> list[dict[str, Any]]:
    from fastclust.learning.devices import why_not_there
    from fastclust.maps.parameters import why_not_gpu
    from fastclust.neighbors.gpu import why_not
    from fastclust_kernels.dispatch import Request, report

    rows = report()
    for architecture in _architectures():
        there = report(Request("cuda", "float32", architecture))
        rows += [row | {"operation": f"{row['operation']}, rows on {architecture}"} for row in there]
    rows.append({"operation": "neighbors", "backend": "cpu", "chosen": True, "reasons": []})
    reasons = why_not() or ["cpu comes first"]
    rows.append({"operation": "neighbors", "backend": "gpu", "chosen": False, "reasons": reasons})
    gpu = why_not_gpu()
    rows.append(
        {"operation": "tsne", "backend": "cpu", "chosen": bool(gpu), "reasons": [] if gpu else ["gpu is there"]}
    )
    rows.append({"operation": "tsne", "backend": "gpu", "chosen": not gpu, "reasons": gpu})
    rows.append({"operation": "learning", "backend": "cpu", "chosen": True, "reasons": []})
    rows.append({"operation": "learning", "backend": "cuda", "chosen": False, "reasons": why_not_there()})
    reasons = ["runs when asked for by name"]
    rows.append({"operation": "tsne", "backend": "opentsne", "chosen": False, "reasons": reasons})
    return rows


def _architectures() -> list[str]:
    """Kinds of GPUs that torch can use here, such as "sm_90"."""
    import torch

    from fastclust_kernels.devices import architecture_of

    if not torch.cuda.is_available():
        return []
    return sorted({architecture_of(torch.device("cuda", number)) for number in range(torch.cuda.device_count())})
