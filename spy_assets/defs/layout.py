"""Where the boxes of a layered graph go: rows by depth, order and place by the neighbours.

The usual four steps (Sugiyama, Tagawa, Toda 1981): rows, a point in each row that a long edge passes,
the order within rows by barycentre, and then places that are as near to the neighbours' as the
widths allow. Nodes that share all their parents hang on one junction, not on a web of edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum

#: Sweeps over all rows; the order of graphs of this size is settled after a few.
_SWEEPS = 12
_JUNCTION = "junction:"


@dataclass
class Layered:
    """Nodes by row, with edges between neighbouring rows only.

    ``passing`` are the points of long edges and the junctions: they take little room.
    """

    rows: list[list[str]]
    edges: list[tuple[str, str]]
    passing: set[str]
    place: dict[str, float] = field(default_factory=dict)

    @property
    def junctions(self) -> list[str]:
        """The points on which nodes with the same parents hang."""
        return sorted(node for node in self.passing if _is_junction(node))

    def near(self, node: str, *, above: bool) -> list[str]:
        """The node's neighbours in the row above or below."""
        if above:
            return [a for a, b in self.edges if b == node]
        return [b for a, b in self.edges if a == node]


def layered(parents: Mapping[str, Sequence[str]], width: float, gap: float) -> Layered:
    """Lay out an acyclic graph, given each node's parents; places are the centres of the boxes.

    Raises
    ------
    ValueError
        If the graph has a cycle.
    """
    graph = _with_points(_with_junctions(parents))
    for sweep in range(_SWEEPS):
        _order(graph, above=sweep % 2 == 0)
    for row in graph.rows:
        for index, node in enumerate(row):
            graph.place[node] = index * (width + gap)
    for sweep in range(2 * _SWEEPS):
        _shift(graph, width, gap, above=sweep % 2 == 0)
    return graph


def _with_junctions(parents: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Give nodes with the same two or more parents one junction to hang on."""
    sharing: dict[tuple[str, ...], list[str]] = {}
    for node, above in parents.items():
        sharing.setdefault(tuple(sorted(above)), []).append(node)
    result: dict[str, list[str]] = {}
    for above, nodes in sharing.items():
        if len(above) > 1 and len(nodes) > 1:
            junction = f"{_JUNCTION}{nodes[0]}"
            result[junction] = list(above)
            result |= {node: [junction] for node in nodes}
        else:
            result |= {node: list(above) for node in nodes}
    return result


def _is_junction(node: str) -> bool:
    return node.startswith(_JUNCTION)


def _ranks(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Give the rows: as early as possible, but what is read only later moves down to its reader.

    What hangs on a junction stays there, side by side.
    """
    rank: dict[str, int] = {}
    while len(rank) < len(parents):
        ready = [n for n, up in parents.items() if n not in rank and all(p in rank for p in up)]
        if not ready:
            raise ValueError(f"the graph has a cycle through {sorted(set(parents) - set(rank))}")
        rank |= {n: max((rank[p] + 1 for p in parents[n]), default=0) for n in ready}
    for node in sorted(rank, key=lambda n: -rank[n]):
        readers = [rank[n] for n, up in parents.items() if node in up]
        if readers and parents[node] and not _is_junction(parents[node][0]):
            rank[node] = min(readers) - 1
    return rank


def _with_points(parents: Mapping[str, Sequence[str]]) -> Layered:
    """Put a point in each row that an edge passes."""
    rank = _ranks(parents)
    rows: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in parents:
        rows[rank[node]].append(node)
    graph = Layered(rows, [], {node for node in parents if _is_junction(node)})
    for node, above in parents.items():
        for parent in above:
            last = parent
            for row in range(rank[parent] + 1, rank[node]):
                point = f"point:{parent}>{node}:{row}"
                rows[row].append(point)
                graph.passing.add(point)
                graph.edges.append((last, point))
                last = point
            graph.edges.append((last, node))
    return graph


def _order(graph: Layered, *, above: bool) -> None:
    """Sort each row by the mean position of the neighbours in the row before."""
    position = {node: i / len(row) for row in graph.rows for i, node in enumerate(row)}
    for row in graph.rows if above else reversed(graph.rows):
        row.sort(key=lambda node: _mean(graph.near(node, above=above), position, position[node]))
        position |= {node: i / len(row) for i, node in enumerate(row)}


def _shift(graph: Layered, width: float, gap: float, *, above: bool) -> None:
    """Move each row's nodes towards their neighbours, keeping order and distances."""
    room = {node: 0.15 * width if node in graph.passing else width for node in graph.place}
    for row in graph.rows if above else reversed(graph.rows):
        wanted = [
            _mean(graph.near(node, above=above), graph.place, graph.place[node]) for node in row
        ]
        offsets = [0.0]
        for left, right in pairwise(row):
            offsets.append(offsets[-1] + (room[left] + room[right]) / 2 + gap)
        free = _rising([w - o for w, o in zip(wanted, offsets, strict=True)])
        graph.place |= {n: f + o for n, f, o in zip(row, free, offsets, strict=True)}


def _rising(values: Sequence[float]) -> list[float]:
    """Give the nearest non-decreasing values, by pooling adjacent violators.

    >>> _rising([1.0, 3.0, 2.0])
    [1.0, 2.5, 2.5]
    """
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and _average(blocks[-2]) > _average(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_average(block) for block in blocks for _ in block]


def _average(values: Sequence[float]) -> float:
    return fsum(values) / len(values)  # `sum` of floats differs between Python versions


def _mean(nodes: Sequence[str], at: Mapping[str, float], otherwise: float) -> float:
    return _average([at[node] for node in nodes]) if nodes else otherwise
