"""``python -m C2SCore``: the ``c2s`` command where no script is on the path, such as inside Slicer."""

from __future__ import annotations

import sys

from C2SCore.cli import main

if __name__ == "__main__":
    sys.exit(main())
