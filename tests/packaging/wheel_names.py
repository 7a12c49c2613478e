"""Build the wheel and check that it owns exactly our three packages and carries the data files they read."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = {"fastclust", "fastclust_kernels", "fastclust_server"}
NEEDED = {"fastclust/py.typed", "fastclust/__init__.pyi", "fastclust/report/static/page.js"}


def main() -> int:
    """Return 0 if the wheel is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
    owned = {name.split("/")[0] for name in names} - {name.split("/")[0] for name in names if ".dist-info/" in name}
    problems = []
    if owned != OURS:
        problems.append(f"the wheel owns {sorted(owned)}; it must own {sorted(OURS)}")
    problems += [f"the wheel lacks {name}" for name in sorted(NEEDED - names)]
    problems += [f"the wheel carries {name}" for name in sorted(names) if name.startswith("fastclust/docs/")]
    for problem in problems:
        print(f"wheel_names: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
