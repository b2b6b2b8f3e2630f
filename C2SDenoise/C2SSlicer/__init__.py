"""What the C2S modules share inside 3D Slicer: volumes, jobs, views, installation, models. Never imports torch."""
