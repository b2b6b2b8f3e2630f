"""Reports as pages for a browser, each one HTML file."""

from __future__ import annotations

import html
from collections.abc import Sequence

STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}figure{display:inline-block;margin:.3em}"
    "figcaption{font-size:12px;color:#555}img{image-rendering:pixelated}"
)


def page(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page of `parts`, which are HTML."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}{style}</style>'
    return f'<!DOCTYPE html><html lang="en">{head}{"".join(parts)}</html>\n'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every text is escaped."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line('th', head) if any(head) else ''}{''.join(line('td', row) for row in rows)}</table>"


def figure(source: str, caption: str, width: int | None = None) -> str:
    """A picture, by its address or its data, and what it shows."""
    size = f' width="{width}"' if width else ""
    picture = f'<img alt="" loading="lazy" src="{html.escape(source)}"{size}>'
    return f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"
