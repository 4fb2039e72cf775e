"""Draw the asset graph as an SVG: ``python -m spy_assets.defs.picture docs/asset-graph.svg``.

Rows by depth, because the graph is deeper than a page is wide. One colour a group, readable on light
and dark pages, no script, no font, no network address; the same graph gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from spy_assets.defs.layout import Layered, layered

_WIDTH = 186.0
_HEIGHT = 38.0
#: Letters of a name that fit at its usual size.
_LONG = 22
_GAP = 16.0
_ROW_GAP = 30.0
_MARGIN = 24.0
_LEGEND = 34.0
#: Kinds that nearly every asset has say nothing in a picture.
_COMMON = {"python", "ducklake", "duckdb"}
#: One colour a group, in the order of appearance: light, dark.
_COLOURS = (
    ("#0969da", "#58a6ff"),
    ("#1a7f37", "#3fb950"),
    ("#8250df", "#bc8cff"),
    ("#bc4c00", "#f0883e"),
    ("#57606a", "#9198a1"),
    ("#bf3989", "#f778ba"),
)


@dataclass(frozen=True)
class Box:
    """One asset of the picture."""

    key: str
    group: str
    kinds: tuple[str, ...]
    parents: tuple[str, ...]
    reads_itself: bool

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def note(self) -> str:
        """The schema and what it is made with."""
        schema = self.key.rsplit("/", 1)[0]
        own = ["reads its past"] if self.reads_itself else []
        return " · ".join([schema, *self.kinds, *own])


def boxes() -> list[Box]:
    """Give the assets of the code location, parents before children."""
    import dagster as dg

    from spy_assets.defs import features
    from spy_assets.defs.graph import ASSETS
    from spy_assets.defs.resources import SpyResource

    resources = {"spy": SpyResource(), "dbt": features.dbt_resource()}
    graph = dg.Definitions(assets=ASSETS, resources=resources).resolve_asset_graph()
    found = []
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        above = sorted(parent.to_user_string() for parent in node.parent_keys if parent != key)
        found.append(
            Box(
                key.to_user_string(),
                node.group_name,
                tuple(sorted(set(node.kinds) - _COMMON)),
                tuple(above),
                key in node.parent_keys,
            )
        )
    return found


def draw(assets: list[Box]) -> str:
    """Give the SVG of some assets."""
    graph = layered({box.key: box.parents for box in assets}, _WIDTH, _GAP)
    left = min(graph.place.values()) - _WIDTH / 2 - _MARGIN
    x = {node: place - left for node, place in graph.place.items()}
    y, bottom = _heights(graph)
    width, height = max(x.values()) + _WIDTH / 2 + _MARGIN, bottom + _MARGIN - _ROW_GAP
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    groups = list(dict.fromkeys(box.group for box in assets))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>The asset graph: {len(assets)} assets in {len(groups)} groups</title>",
        f"<style>{_style(groups)}</style>",
        '<rect class="page" width="100%" height="100%" rx="8"/>',
        *_legend(groups),
        *(_edge(graph, x, y, edge) for edge in sorted(graph.edges)),
        *(f'<circle cx="{x[n]:.1f}" cy="{y[n]:.1f}" r="3"/>' for n in graph.junctions),
        *(_box(box, x[box.key], y[box.key], groups.index(box.group)) for box in assets),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _heights(graph: Layered) -> tuple[dict[str, float], float]:
    """Give the upper edge of each row's boxes; a row of mere points takes no height of its own."""
    y: dict[str, float] = {}
    top = _MARGIN + _LEGEND
    for row in graph.rows:
        y |= dict.fromkeys(row, top)
        top += _ROW_GAP + (0.0 if set(row) <= graph.passing else _HEIGHT)
    return y, top


def _depth(graph: Layered, node: str) -> float:
    """Give the height of a node's row, which an edge has to pass."""
    row = next(row for row in graph.rows if node in row)
    return 0.0 if set(row) <= graph.passing else _HEIGHT


def _edge(graph: Layered, x: dict[str, float], y: dict[str, float], edge: tuple[str, str]) -> str:
    start, end = edge
    y0 = y[start] + _depth(graph, start)
    y1, middle = y[end], (y0 + y[end]) / 2
    path = f"M{x[start]:.1f},{y0:.1f}C{x[start]:.1f},{middle:.1f} {x[end]:.1f},{middle:.1f} "
    path += f"{x[end]:.1f},{y1:.1f}"
    if end in graph.passing:
        path += f"V{y1 + _depth(graph, end):.1f}"
    tip = "" if end in graph.passing else f'<path class="tip" d="{_tip(x[end], y1)}"/>'
    return f'<path class="edge" d="{path}"/>{tip}'


def _tip(x: float, y: float) -> str:
    return f"M{x - 4:.1f},{y - 7:.1f}L{x:.1f},{y:.1f}L{x + 4:.1f},{y - 7:.1f}Z"


def _box(box: Box, x: float, y: float, colour: int) -> str:
    # A long name would leave its box.
    size = ' style="font-size:10.5px"' if len(box.name) > _LONG else ""
    return (
        f'<g class="g{colour}"><rect x="{x - _WIDTH / 2:.1f}" y="{y:.1f}" width="{_WIDTH:.0f}" '
        f'height="{_HEIGHT:.0f}" rx="6"/>'
        f'<text class="name"{size} x="{x:.1f}" y="{y + 16:.1f}">{escape(box.name)}</text>'
        f'<text class="note" x="{x:.1f}" y="{y + 30:.1f}">{escape(box.note)}</text></g>'
    )


def _legend(groups: list[str]) -> Iterator[str]:
    for index, group in enumerate(groups):
        x = _MARGIN + 120.0 * index
        yield (
            f'<g class="g{index}"><rect x="{x:.1f}" y="{_MARGIN - 6:.1f}" width="14" height="14" '
            f'rx="3"/><text class="key" x="{x + 20:.1f}" y="{_MARGIN + 5.5:.1f}">'
            f"{escape(group)}</text></g>"
        )


def _style(groups: list[str]) -> str:
    colours = [_COLOURS[index % len(_COLOURS)] for index in range(len(groups))]
    light = "".join(f".g{i}{{--c:{pair[0]}}}" for i, pair in enumerate(colours))
    dark = "".join(f".g{i}{{--c:{pair[1]}}}" for i, pair in enumerate(colours))
    return (
        "svg{--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#8c959f}"
        f"{light}@media(prefers-color-scheme:dark){{svg{{--bg:#0d1117;--fg:#e6edf3;"
        f"--soft:#9198a1;--line:#6e7681}}{dark}}}"
        ".page{fill:var(--bg)}g rect{fill:var(--c);fill-opacity:.13;stroke:var(--c)}"
        "text{font-family:system-ui,sans-serif;fill:var(--fg);text-anchor:middle}"
        ".name{font-size:13px;font-weight:600}.note{font-size:10.5px;fill:var(--soft)}"
        ".key{font-size:12.5px;text-anchor:start}"
        ".edge{fill:none;stroke:var(--line)}.tip,circle{fill:var(--line)}"
    )


def main(arguments: list[str]) -> int:
    """Draw the graph of this code location into the file that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m spy_assets.defs.picture FILE.svg\n")
        return 2
    Path(arguments[0]).write_text(draw(boxes()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
