"""The choice of where to compute, as both panels offer it."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _


class Device(enum.Enum):
    """Where to compute; the value is the core's word for it."""

    AUTOMATIC = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        words = {
            "auto": _("Automatic"),
            "cpu": _("Processor (CPU)"),
            "cuda": _("NVIDIA graphics card"),
            "mps": _("Apple GPU"),
        }
        return words[self.value]
