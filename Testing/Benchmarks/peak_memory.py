"""Peak memory of denoising one large volume, as the operating system counts it for this process; prints JSON.

`speed.py` runs it as a child. The volume is a simulated magnitude image with voxels as thick as wide; nothing is
written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from C2SCore import denoising, model


def peak_bytes() -> int | None:
    """The most memory that this process ever had resident; None where the system does not tell."""
    # Linux's `ru_maxrss` begins with that of the program from which this one was started.
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value if sys.platform == "darwin" else 1024 * value


def volume(shape: tuple[int, int, int]) -> np.ndarray:
    """Noisy ellipses (K, J, I), made slice by slice so that making it costs no memory beside it."""
    rng = np.random.default_rng(0)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:])
    head = 600.0 * ((y[:, None] / 0.9) ** 2 + (x / 0.8) ** 2 < 1) + 300.0 * (
        (y[:, None] / 0.4) ** 2 + (x / 0.5) ** 2 < 1
    )
    result = np.empty(shape, dtype=np.float32)
    for k in range(shape[0]):
        result[k] = np.hypot(head + rng.normal(0, 60, shape[1:]), rng.normal(0, 60, shape[1:]))
    return result


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", type=int, nargs=3, metavar=("K", "J", "I"), default=(300, 512, 512))
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    options = made.parse_args(arguments)
    loaded = model.load(options.model)
    # What PyTorch takes once, whatever the volume: its libraries, and buffers for one small pass.
    every_axis = denoising.Options(isotropic=True)
    denoising.denoise(volume((2, 32, 32)), loaded, every_axis)
    before = peak_bytes()
    noisy = volume(tuple(options.size))
    start = time.monotonic()
    result = denoising.denoise(noisy, loaded, every_axis)
    seconds = time.monotonic() - start
    weights = sum(p.numel() * p.element_size() for p in loaded.denoiser.parameters())
    facts = {
        "size": list(noisy.shape),
        "volume_bytes": noisy.nbytes,
        "model_bytes": weights,
        "program_bytes": before,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(facts | {"seconds": seconds, "device": result.device}))


if __name__ == "__main__":
    main()
