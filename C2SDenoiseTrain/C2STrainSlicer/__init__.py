"""Training inside 3D Slicer: scans to learn from, the training's process, its curves, its record. No PyTorch here."""
