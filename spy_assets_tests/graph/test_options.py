"""Option chains as assets: from files, from a server on loopback, of the wrong day, and none at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from spy_assets.defs import chains, options
from spy_assets.defs.resources import SpyResource
from spy_assets.options.expiries import options_close
from spy_assets.sessions import decision_time, next_session, sessions_between
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.test_ingestion import Run
from spy_assets_tests.graph.worlds import read
from spy_assets_tests.options.chains import RATE, YIELD, model_chain
from spy_assets_tests.scripted_server import Reply, ScriptedServer

#: A Tuesday: no contract of 2018 expires on it.
DAY = date(2018, 6, 12)
NEXT = next_session(DAY)
SPOT = 279.0
NOW = "2018-06-14T22:30:00+00:00"
BODY = "/api/global/delayed_quotes/options/SPY.json"
Make = Callable[..., Run]


def cboe_rows(session: date, spot: float = SPOT) -> pl.DataFrame:
    """A complete chain as CBOE spells it."""
    frame = model_chain(session, spot=spot).sort("expiry", "strike", "right")
    local = pl.col("last_at").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)
    zero = dict.fromkeys(("iv", "delta", "gamma", "theta", "vega", "rho"), pl.lit(0.0))
    return frame.select(
        pl.col("occ").str.replace_all(" ", "").alias("option"),
        *("bid", "ask", "volume", "open_interest"),
        pl.col("bid_size", "ask_size").cast(pl.Float64),
        last_trade_price="last",
        last_trade_time=local,
        **zero,
    )


def payload_time(session: date) -> datetime:
    """When the evening's payload was made: quotes in it are of the end of options trading."""
    return options_close(session) + timedelta(minutes=40)


def drop(root: Path, named: date, rows: pl.DataFrame, made: date | None = None) -> None:
    """A file of the files source, and its envelope."""
    folder = root / "chains" / "cboe"
    (folder / "SPY").mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "SPY" / f"{named}.parquet")
    stamp = payload_time(made or named)
    row = {"session_date": str(named), "ticker": "SPY", "current_price": SPOT, "close": SPOT}
    row |= {"fetched_at_utc": stamp.isoformat(), "payload_timestamp": stamp.isoformat()}
    told = pl.DataFrame([row])
    path = folder / "underlying.parquet"
    if path.is_file():
        told = pl.concat([pl.read_parquet(path), told])
    told.write_parquet(path)


def plant(settings: Settings) -> None:
    """Two years of bars with dividends, and a rate, known in time."""
    days = sessions_between(date(2017, 1, 3), NEXT)
    number = range(len(days))
    bars = pl.DataFrame(
        {
            "symbol": "SPY",
            "session": days,
            "event_time": [decision_time(day) for day in days],
            **dict.fromkeys(("open", "high", "low", "close"), SPOT),
            "volume": 1e6,
            "dividend": [SPOT * math.expm1(YIELD) / 4 if i % 63 == 40 else 0.0 for i in number],
            "split": 1.0,
            "available_at": [decision_time(day) for day in days],
            "source": "test",
        }
    )
    known = datetime(2018, 6, 12, 20, tzinfo=UTC)
    rate = pl.DataFrame(
        {
            "series": ["DGS3MO"],
            "session": [date(2018, 6, 11)],
            "event_time": [known],
            "rate": [math.expm1(RATE)],
            "is_constant": [False],
            "available_at": [known],
            "source": ["test"],
        }
    )
    with Warehouse.open(settings) as lake:
        batches = [(TABLES["market.daily_bars"], bars), (TABLES["market.rates"], rate)]
        lake.write_many(batches, ingested_at=known)


@pytest.fixture
def make(settings: Settings, tmp_path: Path) -> Make:
    """Materialize chain and features of a session in process."""

    def run(day: date = DAY, now: str = NOW, **changes: Any) -> Run:
        given = {"home": str(settings.home), "files_dir": str(tmp_path / "files")}
        spy = SpyResource(overrides=given | {"chains": {"source": "files"}} | changes, now=now)
        with dg.DagsterInstance.ephemeral() as instance:
            return Run(
                dg.materialize(
                    options.ASSETS, partition_key=str(day), resources={"spy": spy},
                    instance=instance, raise_on_error=False,
                )
            )  # fmt: skip

    return run


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.close()


def counts(settings: Settings) -> dict[str, int]:
    with Warehouse.open(settings, read_only=True) as lake:
        names = (chains.QUOTES, options.FEATURES, "quarantine.rows")
        return {name: lake.row_count(name) for name in names}


@pytest.mark.slow
def test_a_drop_becomes_quotes_with_volatilities_and_features(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    plant(settings)
    rows = cboe_rows(DAY)
    drop(tmp_path / "files", DAY, rows)
    run = make()
    assert run.ok, run.words
    assert {name for name, passed in run.passed().items() if not passed} == set()
    quotes = read(settings, chains.QUOTES)
    assert quotes.height == rows.height
    assert quotes["quote_kind"].unique().to_list() == ["chain"]
    assert quotes["rate"].unique().to_list() == pytest.approx([RATE])
    assert quotes["spot_used"][0] == pytest.approx(SPOT, rel=1e-3)
    assert quotes["iv"].count() > quotes.height / 2
    (features,) = read(settings, options.FEATURES).iter_rows(named=True)
    assert features["atm_iv_avg"] == pytest.approx(0.136, abs=0.005)
    assert features["pcr_volume"] is not None
    assert features["quality"] == "iv_rank:warmup;iv_percentile:warmup"
    before = counts(settings)
    assert make().ok
    assert counts(settings) == before


@pytest.mark.slow
def test_a_chain_of_another_day_is_kept_out(make: Make, settings: Settings, tmp_path: Path) -> None:
    plant(settings)
    drop(tmp_path / "files", NEXT, cboe_rows(DAY), made=DAY)
    run = make(NEXT)
    assert not run.ok
    assert not run.checks["wrong_session"].passed
    assert run.checks["wrong_session"].blocking
    assert run.made == 0
    assert "belongs to 2018-06-12" in run.told("wrong_session", "found")
    found = counts(settings)
    assert (found[chains.QUOTES], found[options.FEATURES]) == (0, 0)
    told = read(settings, "quarantine.rows")
    assert "chain:wrong_session" in told["reason"].to_list()


@pytest.mark.slow
def test_without_a_rate_quotes_are_stored_and_volatilities_are_not_made_up(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    run = make()
    assert run.ok, run.words
    failed = {name for name, passed in run.passed().items() if not passed}
    assert failed == {"analysed", "parity", "spot_agreement"}
    quotes = read(settings, chains.QUOTES)
    assert quotes["iv_status"].unique().to_list() == ["no_rate"]
    assert quotes["iv"].count() == quotes["delta"].count() == 0
    (features,) = read(settings, options.FEATURES).iter_rows(named=True)
    assert features["atm_iv_avg"] is None
    assert "atm_iv_avg:no_spot" in features["quality"]


@pytest.mark.parametrize(
    ("source", "words"),
    [("none", "no source of option chains is set"), ("files", "no chain of SPY in session")],
)
def test_a_session_without_a_chain_says_so_and_does_not_fail(
    make: Make, settings: Settings, source: str, words: str
) -> None:
    run = make(chains={"source": source})
    assert run.ok, run.words
    assert not run.checks["provided"].passed
    assert words in run.told("provided", "found")
    assert read(settings, chains.QUOTES).is_empty()
    (features,) = read(settings, options.FEATURES).iter_rows(named=True)
    assert features["quote_kind"] is None
    assert features["quality"].startswith("atm_iv_call:no_chain;")


@pytest.mark.slow
def test_delayed_quotes_come_over_a_socket_and_only_for_their_own_session(
    make: Make, settings: Settings, server: ScriptedServer
) -> None:
    plant(settings)
    rows = cboe_rows(DAY).with_columns(pl.col("last_trade_time").dt.strftime("%Y-%m-%dT%H:%M:%S"))
    ignored = ("theo", "change", "open", "high", "low", "percent_change", "prev_day_close", "tick")
    rows = rows.with_columns(pl.lit(0.0).alias(name) for name in ignored)
    made = payload_time(DAY)
    data = {"symbol": "SPY", "current_price": SPOT, "close": SPOT, "options": rows.to_dicts()}
    body = json.dumps({"timestamp": f"{made:%Y-%m-%d %H:%M:%S}", "data": data})
    server.on(BODY, Reply(body))
    cboe = {"source": "cboe", "cboe_url": server.url}
    run = make(now=made.isoformat(), chains=cboe)
    assert run.ok, run.words
    assert run.checks["provided"].passed
    stored = counts(settings)
    assert stored[chains.QUOTES] == rows.height
    later = make(now=NOW, chains=cboe)
    assert later.ok, later.words
    assert later.checks["provided"].passed  # stored before, though the vendor has moved on
    assert counts(settings) == stored


def test_a_vendor_that_is_down_fails_the_run(
    make: Make, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
    server.on(BODY, Reply("", status=500))
    http = {"max_attempts": 1, "backoff_s": 0.0}
    cboe = {"source": "cboe", "cboe_url": server.url}
    run = make(now=payload_time(DAY).isoformat(), chains=cboe, http=http)
    assert not run.ok
    assert "500" in run.words


@pytest.mark.slow
def test_a_model_chain_is_labelled_and_gives_way_to_a_real_one(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    plant(settings)
    moment = datetime(2018, 6, 12, 20, 15, tzinfo=UTC)
    vix = {"name": ["VIX", "VIX9D"], "session": DAY, "event_time": moment}
    prices = {name: [13.0, 12.0] for name in ("open", "high", "low", "close")}
    frame = pl.DataFrame(vix | prices | {"available_at": moment, "source": "test"})
    with Warehouse.open(settings) as lake:
        lake.write(TABLES["market.volatility"], frame, ingested_at=moment)
    wanted = {"source": "files", "model_chain": True}
    run = make(chains=wanted)
    assert run.ok, run.words
    assert "a model's chain" in run.told("provided", "found")
    assert not run.checks["provided"].passed
    quotes = read(settings, chains.QUOTES)
    assert quotes["quote_kind"].unique().to_list() == ["surface"]
    assert quotes["source"].unique().to_list() == ["model"]
    assert quotes["volume"].count() == 0
    (features,) = read(settings, options.FEATURES).iter_rows(named=True)
    assert features["quote_kind"] == "surface"
    assert 0.09 < features["atm_iv_avg"] < 0.13  # VIX lies above the volatility at the money
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    assert make(chains=wanted).ok
    assert read(settings, options.FEATURES)["quote_kind"].to_list() == ["chain"]
    real = read(settings, chains.QUOTES, where="quote_kind = 'chain'").height
    assert make(chains={"source": "none", "model_chain": True}).ok
    assert read(settings, chains.QUOTES, where="quote_kind = 'chain'").height == real


@pytest.mark.slow
def test_without_vix_there_is_no_model_chain(make: Make, settings: Settings) -> None:
    plant(settings)
    run = make(chains={"source": "none", "model_chain": True})
    assert run.ok, run.words
    assert "no model chain: no volatility surface from VIX None" in run.told("provided", "found")
    assert read(settings, chains.QUOTES).is_empty()


def test_the_tables_hold_the_whole_schema() -> None:
    from spy_assets.features.chain import CHAIN_FEATURES
    from spy_assets.options.chain import CHAIN_SCHEMA
    from spy_assets.options.chain_analytics import ANALYTICS_SCHEMA

    quotes = set(TABLES[chains.QUOTES].all_columns)
    assert {*CHAIN_SCHEMA, *ANALYTICS_SCHEMA} | {
        "spot_used",
        "spot_source",
        "ingested_at",
    } == quotes
    own = {"symbol", "session", "quote_kind", "spot", "quality"}
    assert set(TABLES[options.FEATURES].columns) == {*CHAIN_FEATURES, *own}
