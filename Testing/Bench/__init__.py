"""Stand-ins for the Slicer desktop over PySide6 and slicer-core; see README.md. They are not Slicer."""
