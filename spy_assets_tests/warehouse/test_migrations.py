from __future__ import annotations

import pytest

from spy_assets.errors import ProfileMismatch, SchemaVersionError, WarehouseError
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.migrations import MIGRATIONS, Migration, check_stamp, migrate, read_stamp
from spy_assets_tests.warehouse.frames import BARS, NOW, bars


def stamp_of(warehouse: Warehouse):
    return read_stamp(warehouse._connection.cursor())


def test_a_new_profile_is_stamped(warehouse: Warehouse):
    stamp = stamp_of(warehouse)
    assert (stamp.source, stamp.schema_version) == ("sample", MIGRATIONS[-1].version)


def test_another_source_is_refused_and_both_are_named(settings: Settings):
    other = settings.model_copy(update={"source": "yfinance", "profile": "sample"})
    with pytest.raises(ProfileMismatch, match=r"'sample', not 'yfinance'"):
        Warehouse.open(other)


def test_a_newer_schema_is_refused(warehouse: Warehouse, settings: Settings):
    warehouse.execute("INSERT INTO lake.meta.migrations VALUES (99, 'later', now())")
    with pytest.raises(SchemaVersionError, match="schema 99, this program knows up to"):
        Warehouse.open(settings)


def test_a_schema_older_than_all_migrations_is_refused(warehouse: Warehouse):
    first = MIGRATIONS[-1].version + 2
    later = [Migration(first, "later", lambda cursor: None)]
    with pytest.raises(SchemaVersionError, match=f"migrations begin at {first}"):
        check_stamp(stamp_of(warehouse), "sample", later)


def test_migrations_run_once_in_order_and_keep_the_data(warehouse: Warehouse):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    add = Migration(
        MIGRATIONS[-1].version + 1,
        "spread",
        lambda c: c.execute("ALTER TABLE lake.market.daily_bars ADD COLUMN spread DOUBLE"),
    )
    steps = [*MIGRATIONS, add]
    cursor = warehouse._connection.cursor()
    assert migrate(cursor, "sample", NOW, steps) == [add]
    assert migrate(cursor, "sample", NOW, steps) == []
    assert warehouse.read(BARS.name)["spread"].to_list() == [None] * 3


def test_outcomes_of_an_older_lake_get_the_kind_of_their_quotes(warehouse: Warehouse):
    cursor = warehouse._connection.cursor()
    step = next(one for one in MIGRATIONS if "kind of quotes" in one.name)
    cursor.execute("DROP TABLE lake.evaluation.chain_backtests")
    cursor.execute("ALTER TABLE lake.ledger.outcomes DROP COLUMN quote_kind")
    step.apply(cursor)
    for table in ("ledger.outcomes", "evaluation.chain_backtests"):
        assert "quote_kind" in warehouse.read(table).columns
    assert warehouse.execute("SELECT quote_kind FROM lake.signals.statistics").is_empty()


def test_a_failing_migration_leaves_no_trace(warehouse: Warehouse):
    def fail(cursor):
        cursor.execute("CREATE TABLE lake.market.half (a INTEGER)")
        raise RuntimeError("broken step")

    broken = Migration(MIGRATIONS[-1].version + 1, "x", fail)
    with pytest.raises(RuntimeError, match="broken step"):
        migrate(warehouse._connection.cursor(), "sample", NOW, [*MIGRATIONS, broken])
    assert "market.half" not in warehouse.tables()
    assert stamp_of(warehouse).schema_version == MIGRATIONS[-1].version


@pytest.mark.parametrize(
    ("version", "tables"),
    [
        (2, {"options.chain_quotes", "features.chain"}),
        (
            3,
            {
                "evaluation.walk_forward",
                "evaluation.walk_forward_equity",
                "evaluation.walk_forward_trades",
            },
        ),
        (
            4,
            {
                "ledger.preferences",
                "models.ensemble_weights",
                "models.reward_models",
                "models.regime_routing",
                "models.hyperparameters",
            },
        ),
        (6, {"evaluation.combinatorial_paths", "evaluation.combinatorial_equity"}),
    ],
)
def test_a_profile_from_before_some_tables_gets_them(
    warehouse: Warehouse, version: int, tables: set[str]
):
    for name in tables:
        warehouse.execute(f"DROP TABLE lake.{name}")
    warehouse.execute(f"DELETE FROM lake.meta.migrations WHERE version >= {version}")
    steps = migrate(warehouse._connection.cursor(), "sample", NOW)
    assert [step.version for step in steps] == [m.version for m in MIGRATIONS[version - 1 :]]
    assert tables <= set(warehouse.tables())


def test_reading_a_missing_warehouse_says_how_to_make_one(tmp_path):
    with pytest.raises(WarehouseError, match="make run"):
        Warehouse.open(load_settings(home=tmp_path), read_only=True)
