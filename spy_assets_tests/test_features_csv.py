"""`features.csv` lists what works, each with the test that shows it: no line may promise more."""

from __future__ import annotations

import ast
import csv
import re
from functools import cache
from pathlib import Path

import pytest

from spy_assets_tests.conftest import REPOSITORY

FILE = REPOSITORY / "features.csv"
#: How many features each part of the inventory has; the ids run from 01.
COUNTS = {"S0": 90, "S1": 56, "S2": 94, "S3": 90, "S4": 78, "C": 21, "D": 67}
with FILE.open(newline="") as _file:
    ROWS = list(csv.DictReader(_file))
IDS = [row["id"] for row in ROWS]


@cache
def functions(file: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
    )


def test_columns_and_order() -> None:
    assert list(ROWS[0]) == ["id", "name", "where", "test"]
    assert sorted(IDS) == IDS
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_id_is_of_the_inventory(row: dict[str, str]) -> None:
    match = re.fullmatch(r"(S[0-4]|C|D)-(\d\d)", row["id"])
    assert match is not None
    assert 1 <= int(match[2]) <= COUNTS[match[1]]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_place_and_test_exist(row: dict[str, str]) -> None:
    assert row["name"]
    assert (REPOSITORY / row["where"]).exists()
    file, _, name = row["test"].partition("::")
    assert name.startswith("test_")
    assert name in functions(REPOSITORY / file)
