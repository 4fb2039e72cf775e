"""Which columns stay where there is less room."""

from __future__ import annotations

import pytest

from spy_assets.cli.columns import Column, dollars, fitting_columns

COLUMNS = (Column("a", "a"), Column("b", "b", leaves=1), Column("c", "c", leaves=2))


@pytest.mark.parametrize(("room", "left"), [(3, "abc"), (2, "ab"), (1, "a"), (0, "a")])
def test_the_highest_leaves_first_and_zero_never(room, left):
    assert "".join(column.name for column in fitting_columns(COLUMNS, room, len)) == left


def test_dollars_have_cents_and_thousands():
    assert (dollars(1234.5), dollars(-0.25)) == ("1,234.50", "-0.25")
