"""What stands in every line that ``gpu.sh`` leaves: on what, with what and when it was measured."""

from __future__ import annotations

from datetime import UTC, datetime

import torch

from fastclust_kernels.devices import architecture_of

__all__ = ["about"]


def about(device: torch.device) -> dict[str, str]:
    """Return device, architecture, torch's version, date and command."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "architecture": architecture_of(device),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "command": "bench/gpu.sh",
    }
