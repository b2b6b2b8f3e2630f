"""Which system libraries that Qt needs are missing on this machine? Prints them, and the command that installs them.

The tests of the Slicer modules run on Qt without a screen; those of the core need none of this.
"""

from __future__ import annotations

import ctypes
import os
import sys

DEBIAN_PACKAGES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}


def missing_libraries() -> list[str]:
    """Names of the shared libraries that cannot be loaded; always empty where Qt brings its own (Windows, macOS)."""
    missing = []
    if sys.platform.startswith("linux"):
        for library in DEBIAN_PACKAGES:
            try:
                ctypes.CDLL(library)
            except OSError:
                missing.append(library)
    return missing


def advice(missing: list[str]) -> str:
    """One sentence and one command for a list of missing libraries."""
    packages = " ".join(DEBIAN_PACKAGES[library] for library in missing)
    return (
        f"Qt cannot start here: {', '.join(missing)} missing. The tests of the Slicer modules are left out. "
        f"To run them: sudo apt-get install {packages} fonts-dejavu-core"
    )


def main() -> int:
    """0 if all is there or the user can live without; 1 if a continuous-integration run must have them."""
    missing = missing_libraries()
    if missing:
        print(advice(missing), file=sys.stderr)
    return int(bool(missing) and bool(os.environ.get("C2S_REQUIRE_QT")))


if __name__ == "__main__":
    sys.exit(main())
