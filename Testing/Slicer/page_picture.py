"""A picture of the report of a training, drawn by Qt's text engine: no browser is needed.

That engine knows neither inline SVG nor figures side by side, so these become pictures and tables first.
"""

from __future__ import annotations

import base64
import re
from typing import Any

WIDTH, SHOWN = 1000, 125  # pixels: of the page and of a slice


def draw(html: str) -> Any:
    """The page as a QImage; needs a running QApplication."""
    from PySide6 import QtCore, QtGui

    html = re.sub(r"(?:<svg.*?</svg>)+", lambda found: f"<p>{found.group()}</p>", html, flags=re.DOTALL)
    html = re.sub(r"<svg.*?</svg>", lambda found: _drawn(found.group()), html, flags=re.DOTALL)
    html = re.sub(r"(?:<figure>.*?</figure>)+", lambda found: _in_a_row(found.group()), html, flags=re.DOTALL)
    page = QtGui.QTextDocument()
    page.setDefaultStyleSheet("body{font-family:'DejaVu Sans'} td,th{padding:2px 8px}")
    page.setTextWidth(WIDTH)
    page.setHtml(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    picture = QtGui.QImage(QtCore.QSize(WIDTH, int(page.size().height()) + 1), QtGui.QImage.Format.Format_RGB32)
    picture.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(picture)
    page.drawContents(painter)
    painter.end()
    return picture


def _drawn(svg: str) -> str:
    from PySide6 import QtCore, QtGui, QtSvg

    drawing = QtSvg.QSvgRenderer(QtCore.QByteArray(svg.encode()))
    picture = QtGui.QImage(drawing.defaultSize(), QtGui.QImage.Format.Format_RGB32)
    picture.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(picture)
    drawing.render(painter)
    painter.end()
    held = QtCore.QBuffer()
    held.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    picture.save(held, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(bytes(held.data())).decode("ascii")}">'


def _in_a_row(figures: str) -> str:
    cells = figures.replace("<figure>", "<td>").replace("</figure>", "</td>")
    cells = cells.replace("<figcaption>", "<br><small>").replace("</figcaption>", "</small>")
    return f"<table><tr>{cells.replace('<img ', f'<img width={SHOWN} ')}</tr></table>"
