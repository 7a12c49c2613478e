"""Compile the Triton kernels without a GPU: ``python -m fastclust_kernels.tsne.ahead sm_80 sm_90 sm_100``.

Prints one JSON line a kernel and architecture: registers a thread, and bytes spilled.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURES", "compiled", "main"]

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")


def compiled(name: str, architecture: str) -> dict[str, Any]:
    """Return what the assembler says of one kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fastclust_kernels.tsne._triton import KERNELS

    kernel, types, constants, warps = KERNELS[name]
    number = int(architecture.removeprefix("sm_"))
    order = [argument for argument in kernel.arg_names if argument not in constants]  # type: ignore[attr-defined]
    signature = {argument: types[argument] for argument in order} | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", number, 32), options={"num_warps": warps})
    return {"kernel": name, "architecture": architecture} | _assembled(made.asm["ptx"], number)


def _assembled(ptx: str, number: int) -> dict[str, int]:
    from triton.backends.nvidia.compiler import get_ptxas

    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert target is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx, "utf-8")
        command = [
            get_ptxas(number).path,
            "-v",
            f"--gpu-name={target[1]}",
            str(path),
            "-o",
            str(path.with_suffix(".o")),
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr  # noqa: S603 - Triton's own
    registers = re.search(r"Used (\d+) registers", told)
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", told)
    assert registers is not None
    return {"registers": int(registers[1]), "spilled_bytes": sum(map(int, spills))}


def main() -> None:
    """Compile everything for the architectures named, or for all."""
    from fastclust_kernels.tsne._triton import KERNELS

    for architecture in sys.argv[1:] or ARCHITECTURES:
        for name in KERNELS:
            print(json.dumps(compiled(name, architecture)), flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    main()
