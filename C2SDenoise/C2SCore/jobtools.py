"""What the worker's jobs share."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from C2SCore.threads import cores

if TYPE_CHECKING:
    from C2SCore.worker import Context


def use_device(name: str, context: Context) -> str:
    """The device to use; the threads are set once, leaving one core to Slicer's own window."""
    import torch

    from C2SCore.device import choose_device

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() - 1))
    context.device = str(choose_device(name))
    return context.device


def peak_memory(device: str) -> int:
    """Bytes that this process has held at most, on a GPU those of the GPU; 0 where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
