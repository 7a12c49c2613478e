"""Compile the Triton kernels without a GPU: ``python -m fastclust_kernels.ahead [--sass] sm_80 sm_90 sm_100``.

Prints one JSON line a kernel and architecture: registers a thread, bytes spilled, bytes of shared memory and, with
``--sass``, how many instructions of matrix units and of local memory the machine code has. ``ahead.json`` holds what
came out, as bounds that the tests keep; ``--write`` (all architectures, ``--sass``) renews it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURES", "BOUNDS", "MODULES", "compiled", "main", "names"]

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
BOUNDS = Path(__file__).with_name("ahead.json")
#: Where ``KERNELS`` are: name -> (kernel, types of arguments, constants, options of the launch). An integer that is a
#: multiple of 16 wherever the kernel is called has ":16" behind its type.
MODULES = ("assign", "update", "mahalanobis", "tsne")
#: What is counted in machine code: products of matrix units, and traffic of local memory, which is spilled registers.
_SASS = {
    "hopper": re.compile(r"\bHGMMA\b"),
    "matrix": re.compile(r"\b(?:HGMMA|HMMA|DMMA|UTCHMMA|UTCQMMA|OMMA|QGMMA)\b"),
    "local": re.compile(r"\b(?:LDL|STL)\b"),
}


def names(module: str) -> list[str]:
    """Names of the kernels of an operation."""
    return list(_kernels(module))


def _kernels(module: str) -> dict[str, Any]:
    found: dict[str, Any] = importlib.import_module(f"fastclust_kernels.{module}._triton").KERNELS
    return found


def compiled(module: str, name: str, architecture: str, *, sass: bool = False) -> dict[str, Any]:
    """Return what the assembler says of one kernel."""
    import triton
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas
    from triton.compiler import ASTSource

    kernel, types, constants, options = _kernels(module)[name]
    number = int(architecture.removeprefix("sm_"))
    arguments = kernel.arg_names
    signature = {each: "constexpr" if each in constants else types[each].partition(":")[0] for each in arguments}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, each in enumerate(arguments)
        if each not in constants and (types[each].startswith("*") or types[each].endswith(":16"))
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    log = io.StringIO()
    # Triton's own assembler run, with its options, tells what it made; from its cache it would tell nothing.
    with knobs.nvidia.scope(), knobs.compilation.scope(), redirect_stdout(log):
        knobs.nvidia.dump_ptxas_log = knobs.compilation.always_compile = True
        made = triton.compile(source, target=GPUTarget("cuda", number, 32), options=dict(options))
    found = {"operation": module, "kernel": name, "architecture": architecture, "shared_bytes": made.metadata.shared}
    counted = _counted(made.asm["cubin"], Path(get_ptxas(number).path).with_name("nvdisasm")) if sass else {}
    return found | _told(log.getvalue()) | counted


def _told(log: str) -> dict[str, int]:
    registers = re.search(r"Used (\d+) registers", log)
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", log)
    assert registers is not None, log
    return {"registers": int(registers[1]), "spilled_bytes": sum(map(int, spills))}


def _counted(code: bytes, disassembler: Path) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        command = [str(disassembler), "--print-code", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - Triton's own
    return {name: len(pattern.findall(listing)) for name, pattern in _SASS.items()}


def _one(job: tuple[str, str, str, bool]) -> str:
    module, name, architecture, sass = job
    return json.dumps(compiled(module, name, architecture, sass=sass))


def main() -> None:
    """Compile everything for the architectures named, or for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--sass", action="store_true")
    parser.add_argument("--modules", default=",".join(MODULES))
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    jobs = [
        (module, name, architecture, chosen.sass)
        for architecture in chosen.architectures
        for module in chosen.modules.split(",")
        for name in names(module)
    ]
    lines = []
    with ProcessPoolExecutor() as pool:
        for line in pool.map(_one, jobs):
            print(line, flush=True)  # noqa: T201 - a command
            lines.append(line)
    if chosen.write:
        BOUNDS.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
