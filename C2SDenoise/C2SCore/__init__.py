"""Self-supervised denoising of magnetic resonance images: everything that needs neither Slicer nor Qt.

This file imports nothing, so that the light rooms (errors, events, config, card) stay light for Slicer.
"""

__version__ = "0.1.0"
