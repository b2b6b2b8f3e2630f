"""Pictures of the module in each state, and of source, result and removed noise, rendered by the bench (not by 3D
Slicer).

    QT_QPA_PLATFORM=offscreen PYTHONPATH=C2SDenoise:Testing python Testing/Slicer/screenshots.py SCAN [FOLDER]

SCAN is a noisy 3-D volume that Slicer can load; the pictures go to FOLDER (Resources/Screenshots).
"""

from __future__ import annotations

import sys
from pathlib import Path

from Bench.bench import Bench

ROOT = Path(__file__).resolve().parents[2]
LABEL = "rendered off screen by the project's bench, not by 3D Slicer"


def wait_for_noise(bench: Bench, widget) -> None:
    bench.wait_until(lambda: not widget.panel._worker.busy, 120)
    bench.process_events(0.1)


def panel(bench: Bench, widget, folder: Path, state: str) -> None:
    """One picture of the panel at 400 pixels, with a caption below."""
    from PySide6 import QtGui

    path = bench.screenshot(widget, folder / f"panel-{state}.png", width=400)
    picture = QtGui.QImage(str(path))
    _captioned(picture, f"{state}: {LABEL}").save(str(path))
    print(path)


def _captioned(picture, text: str):
    from PySide6 import QtCore, QtGui

    framed = QtGui.QImage(picture.width(), picture.height() + 22, QtGui.QImage.Format.Format_RGB32)
    framed.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(framed)
    painter.drawImage(0, 0, picture)
    font = painter.font()
    font.setPixelSize(11)
    painter.setFont(font)
    painter.setPen(QtGui.QColor("#555555"))
    area = QtCore.QRect(6, picture.height(), picture.width() - 12, 22)
    painter.drawText(area, int(QtCore.Qt.AlignmentFlag.AlignVCenter), text)
    painter.end()
    return framed


def slices(bench: Bench, folder: Path, size: int = 420) -> None:
    """The side-by-side view: source, result and removed noise of the middle slice."""
    from Bench.view_widgets import to_qimage
    from PySide6 import QtCore, QtGui

    from C2SSlicer import compare

    for name in compare.VIEWS:
        bench.slice_picture(name, (size, size))
    bench.process_events()
    row = QtGui.QImage(size * 3 + 8, size, QtGui.QImage.Format.Format_RGB32)
    row.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(row)
    painter.setPen(QtGui.QColor("white"))
    for number, (name, title) in enumerate(compare.VIEWS.items()):
        painter.drawImage(number * (size + 4), 0, to_qimage(bench.slice_picture(name, (size, size))))
        painter.drawText(QtCore.QPoint(number * (size + 4) + 8, 18), title)
    painter.end()
    path = folder / "slices.png"
    _captioned(row, f"side-by-side view: {LABEL}").save(str(path))
    print(path)


def main(scan: str, folder: Path) -> None:
    import slicer

    bench = Bench()
    widget = bench.load_module(ROOT / "C2SDenoise" / "C2SDenoise.py")
    bench.enter(widget)
    panel(bench, widget, folder, "empty")
    volume = slicer.util.loadVolume(scan)
    volume.SetName("T1 brain")
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    top = float(slicer.util.arrayFromVolume(volume).max())
    display.SetWindowLevel(0.9 * top, 0.45 * top)
    bench.exit(widget)
    bench.enter(widget)
    wait_for_noise(bench, widget)
    panel(bench, widget, folder, "ready")
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: widget.panel.run.finished or (widget.panel.run.fraction or 0) > 0.3, 120)
    panel(bench, widget, folder, "running")
    bench.wait_until(lambda: widget.panel.run.finished, 300)
    wait_for_noise(bench, widget)
    panel(bench, widget, folder, "done")
    slices(bench, folder)
    bench.click(widget.ui.applyButton)
    # A job that its worker died of before it had begun is given to another; one that had begun is not.
    bench.wait_until(lambda: (widget.panel.run.fraction or 0) > 0.3, 120)
    widget.panel._worker._process.kill()  # what the system does when memory runs out
    bench.wait_until(lambda: widget.panel.run.finished, 60)
    panel(bench, widget, folder, "failed")
    bench.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "Resources" / "Screenshots")
