"""The picture of the graph: the committed one is of the present graph, and nothing overlaps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.definitions import defs
from spy_assets.defs.layout import layered
from spy_assets.defs.picture import boxes, draw, main
from spy_assets_tests.conftest import REPOSITORY

COMMITTED = REPOSITORY / "docs" / "asset-graph.svg"
WIDTH, GAP = 100.0, 10.0


def test_the_committed_picture_is_of_this_graph() -> None:
    assert draw(boxes()) == COMMITTED.read_text(), "renew it: make graph"


def test_every_asset_has_a_box() -> None:
    named = {box.key for box in boxes()}
    keys = defs.resolve_asset_graph().materializable_asset_keys
    assert named == {key.to_user_string() for key in keys}
    root = ElementTree.fromstring(COMMITTED.read_text())
    drawn = [e for e in root.iter("{http://www.w3.org/2000/svg}text") if e.get("class") == "name"]
    assert len(drawn) == len(named)


def test_it_loads_nothing() -> None:
    text = COMMITTED.read_text()
    assert "<script" not in text
    assert "href" not in text
    assert text.count("http") == 1  # the name space


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    assert main([str(tmp_path / "graph.svg")]) == 0
    assert (tmp_path / "graph.svg").read_text() == COMMITTED.read_text()
    assert main([]) == 2


@st.composite
def graphs(draw_: st.DrawFn) -> dict[str, list[str]]:
    names = [f"n{k}" for k in range(draw_(st.integers(1, 12)))]
    return {
        name: sorted(draw_(st.sets(st.sampled_from(names[:k])))) if k else []
        for k, name in enumerate(names)
    }


@given(graphs())
@settings(deadline=None, max_examples=50)
def test_boxes_do_not_overlap_and_edges_go_down(parents: dict[str, list[str]]) -> None:
    graph = layered(parents, WIDTH, GAP)
    row_of = {node: k for k, row in enumerate(graph.rows) for node in row}
    assert {node for node in row_of if node not in graph.passing} == set(parents)
    assert all(row_of[below] == row_of[above] + 1 for above, below in graph.edges)
    for row in graph.rows:
        solid = [graph.place[node] for node in row if node not in graph.passing]
        assert all(right - left >= WIDTH + GAP - 1e-6 for left, right in pairwise(solid))


def test_nodes_with_the_same_parents_share_a_junction() -> None:
    graph = layered({"a": [], "b": [], "c": ["a", "b"], "d": ["a", "b"]}, WIDTH, GAP)
    assert len(graph.junctions) == 1
    assert len(graph.edges) == 4


def test_a_chain_is_straight() -> None:
    graph = layered({"a": [], "b": ["a"], "c": ["b"]}, WIDTH, GAP)
    assert len(set(graph.place.values())) == 1


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cycle through \['a', 'b'\]"):
        layered({"a": ["b"], "b": ["a"]}, WIDTH, GAP)
