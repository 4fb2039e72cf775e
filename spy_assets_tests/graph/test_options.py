"""Option chains as assets: from files, from a server on loopback, of the wrong day, and none at all."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from spy_assets.defs import chains, options
from spy_assets.defs.partitions import ChainPart
from spy_assets.defs.resources import SpyResource
from spy_assets.features.chain import CHAIN_FEATURES, rank_sessions
from spy_assets.options.expiries import options_close
from spy_assets.sessions import decision_time, next_session, sessions_between
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.recovery import forget_file
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.test_ingestion import Run
from spy_assets_tests.graph.worlds import read
from spy_assets_tests.options.chains import RATE, YIELD, model_chain, only_traded
from spy_assets_tests.s3_server import s3_client, s3_server
from spy_assets_tests.scripted_server import Reply, ScriptedServer

#: A Tuesday: no contract of 2018 expires on it.
DAY = date(2018, 6, 12)
NEXT = next_session(DAY)
#: The Thursday: none expires on it either.
LATER = next_session(NEXT)
SPOT = 279.0
NOW = "2018-06-14T22:30:00+00:00"
COVERAGE = "market.coverage"
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


def drop(
    root: Path, named: date, rows: pl.DataFrame, made: date | None = None, symbol: str = "SPY"
) -> None:
    """A file of the files source, and its envelope."""
    folder = root / "chains" / "cboe"
    (folder / symbol).mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / symbol / f"{named}.parquet")
    stamp = payload_time(made or named)
    row = {"session_date": str(named), "ticker": symbol, "current_price": SPOT, "close": SPOT}
    row |= {"fetched_at_utc": stamp.isoformat(), "payload_timestamp": stamp.isoformat()}
    told = pl.DataFrame([row])
    path = folder / "underlying.parquet"
    if path.is_file():
        told = pl.concat([pl.read_parquet(path), told])
    told.write_parquet(path)


def plant(settings: Settings, **rates: float) -> None:
    """Two years of bars with dividends, and rates by series, known in time."""
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
    quoted = {"DGS3MO": 4.0 * math.expm1(RATE / 4.0)} | rates
    rate = pl.DataFrame(
        {
            "series": list(quoted),
            "session": date(2018, 6, 11),
            "event_time": known,
            "rate": list(quoted.values()),
            "is_constant": False,
            "available_at": known,
            "source": "test",
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
                    options.ASSETS, partition_key=ChainPart(day, "SPY").key, resources={"spy": spy},
                    instance=instance, raise_on_error=False,
                )
            )  # fmt: skip

    return run


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.close()


def covered(settings: Settings) -> list[tuple[Any, ...]]:
    """Coverage of chains: session, due, present, gaps and note."""
    found = read(settings, COVERAGE, where="dataset = 'option_chain' AND symbol = 'SPY'")
    return found.sort("session").select("session", "due", "present", "gaps", "note").rows()


def counts(settings: Settings) -> dict[str, int]:
    with Warehouse.open(settings, read_only=True) as lake:
        names = (chains.QUOTES, chains.FEATURES, "quarantine.rows", COVERAGE)
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
    assert {name for name, passed in run.passed().items() if not passed} == {"duplicate"}
    assert "not judged: there is no other chain" in run.told("duplicate", "found")
    assert run.checks["duplicate"].severity == dg.AssetCheckSeverity.WARN
    quotes = read(settings, chains.QUOTES)
    assert quotes.height == rows.height
    expiries = quotes["expiry"].n_unique()
    told = f"{rows.height} contracts of {expiries} expiries, 0 withheld"
    assert covered(settings) == [(DAY, 1, 1, 0, told)]
    assert quotes["quote_kind"].unique().to_list() == ["chain"]
    assert quotes["rate"].unique().to_list() == pytest.approx([RATE])
    assert quotes["spot_used"][0] == pytest.approx(SPOT, rel=1e-3)
    assert quotes["iv"].count() > quotes.height / 2
    (features,) = read(settings, chains.FEATURES).iter_rows(named=True)
    assert features["atm_iv_avg"] == pytest.approx(0.136, abs=0.005)
    assert features["pcr_volume"] is not None
    assert features["quality"] == "iv_rank:warmup;iv_percentile:warmup"
    before = counts(settings)
    assert make().ok
    assert counts(settings) == before


def test_each_expiry_has_the_rate_of_its_tenor_and_dividends_lower_its_forward(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    plant(settings, DGS1=0.08)
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    make()
    found = read(settings, chains.QUOTES).group_by("expiry").agg(pl.col("rate").first())
    rates = found.sort("expiry")["rate"]
    assert rates[0] == pytest.approx(RATE, abs=1e-6)
    assert rates[-1] > RATE + 0.01
    with Warehouse.open(settings) as lake:
        _, carry = chains._carry(lake, ChainPart(DAY, "SPY"))
    assert carry.dividends is not None
    assert len(carry.dividends) >= 4


def test_the_spot_of_a_chain_is_the_newest_answers(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    plant(settings)
    rows = cboe_rows(DAY)
    drop(tmp_path / "files", DAY, rows)
    assert make().ok
    with Warehouse.open(settings) as lake:
        first = lake.read(chains.QUOTES).drop("ingested_at")
        later = first.slice(1).with_columns(
            pl.col("available_at") + timedelta(minutes=1), spot_used=pl.lit(SPOT + 9.0)
        )
        lake.write(TABLES[chains.QUOTES], later, ingested_at=decision_time(DAY) + timedelta(days=3))
        found, _ = chains.load(lake, ChainPart(DAY, "SPY"))
    assert found.contracts.height == rows.height
    assert found.spot == SPOT + 9.0


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
    assert (found[chains.QUOTES], found[chains.FEATURES]) == (0, 0)
    told = read(settings, "quarantine.rows")
    assert "chain:wrong_session" in told["reason"].to_list()
    ((day, *numbers, note),) = covered(settings)
    assert (day, numbers) == (NEXT, [1, 0, 1])
    assert note.startswith("longest gap 1; kept out: ")
    assert "wrong_session" in note


@pytest.mark.slow
def test_without_a_rate_quotes_are_stored_and_volatilities_are_not_made_up(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    run = make()
    assert run.ok, run.words
    failed = {name for name, passed in run.passed().items() if not passed}
    assert failed == {"analysed", "duplicate", "parity", "spot_agreement"}
    quotes = read(settings, chains.QUOTES)
    assert quotes["iv_status"].unique().to_list() == ["no_rate"]
    assert quotes["iv"].count() == quotes["delta"].count() == 0
    (features,) = read(settings, chains.FEATURES).iter_rows(named=True)
    assert features["atm_iv_avg"] is None
    assert "atm_iv_avg:no_spot" in features["quality"]


@pytest.mark.parametrize(
    ("source", "words", "due"),
    [("none", "no source of option chains is set", 0), ("files", "no chain of SPY in session", 1)],
)
def test_a_session_without_a_chain_says_so_and_does_not_fail(
    make: Make, settings: Settings, source: str, words: str, due: int
) -> None:
    run = make(chains={"source": source})
    assert run.ok, run.words
    assert not run.checks["provided"].passed
    assert words in run.told("provided", "found")
    assert read(settings, chains.QUOTES).is_empty()
    (features,) = read(settings, chains.FEATURES).iter_rows(named=True)
    assert features["quote_kind"] is None
    assert features["quality"].startswith("atm_iv_call:no_chain;")
    found = covered(settings)
    assert [row[:4] for row in found] == [(DAY, 1, 0, 1)] * due
    assert all(words in row[4] for row in found)


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
    stored, told = counts(settings), covered(settings)
    assert stored[chains.QUOTES] == rows.height
    later = make(now=NOW, chains=cboe)
    assert later.ok, later.words
    assert later.checks["provided"].passed  # stored before, though the vendor has moved on
    assert counts(settings) == stored
    assert covered(settings) == told  # the vendor's silence of today takes no chain away


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


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """moto's S3 server on loopback with the bucket of the flat files."""
    with s3_server() as url:
        yield url


def put_flat_file(url: str, session: date, traded: pl.DataFrame) -> None:
    """A day's bars of the traded contracts, as Massive writes them."""
    prices = {name: pl.col("last") for name in ("open", "close", "high", "low")}
    bars = traded.select(
        ("O:" + pl.col("occ").str.replace_all(" ", "")).alias("ticker"),
        "volume",
        **prices,
        window_start=pl.lit(int(datetime(*session.timetuple()[:3], 4, tzinfo=UTC).timestamp())),
        transactions=pl.lit(1),
    ).with_columns(pl.col("window_start") * 1_000_000_000)
    client = s3_client(url)
    client.create_bucket(Bucket="flatfiles")
    key = f"us_options_opra/day_aggs_v1/{session:%Y/%m}/{session}.csv.gz"
    body = gzip.compress(bars.write_csv().encode())
    client.put_object(Bucket="flatfiles", Key=key, Body=body)


@pytest.mark.slow
def test_flat_files_are_stored_though_they_list_trades_only(
    make: Make, settings: Settings, s3: str
) -> None:
    plant(settings)
    flat = {
        "chains": {"source": "flat_files", "flat_files_url": s3},
        "flat_files_key_id": "key",
        "flat_files_secret": "secret",
    }
    heights = {}
    for day, share in ((DAY, 5), (NEXT, 3)):
        traded = only_traded(model_chain(day, spot=SPOT), share).with_columns(
            pl.col("volume") * share
        )
        put_flat_file(s3, day, traded)
        run = make(day, **flat)
        assert run.ok, run.words
        heights[day] = traded.height
        assert "not judged: the chain lists trades" in run.told("strikes", "found")
        for name in ("expiries", "spot_range", "all_zero", "provided"):
            assert run.checks[name].passed
        assert "not judged: no trade, quote or expiry" in run.told("wrong_session", "found")
    quotes = read(settings, chains.QUOTES)
    assert dict(quotes["session"].value_counts().iter_rows()) == heights
    assert quotes.select("bid", "ask", "open_interest", "iv").count().row(0) == (0, 0, 0, 0)
    features = read(settings, chains.FEATURES)
    assert features["pcr_volume"].count() == 2
    assert features["gex_total"].count() == features["pcr_open_interest"].count() == 0


@pytest.mark.slow
def test_near_the_money_is_what_must_be_analysed(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    plant(settings)
    near = (pl.col("option").str.slice(-8).cast(pl.Float64) / 1000 / SPOT - 1).abs() < 0.021
    unsold = {name: pl.when(~near).then(name).otherwise(0.0).alias(name) for name in ("bid", "ask")}
    drop(tmp_path / "files", DAY, cboe_rows(DAY).with_columns(**unsold))
    run = make()
    assert run.ok, run.words
    assert not run.checks["analysed"].passed
    assert "0 of " in run.told("analysed", "found")
    assert read(settings, chains.QUOTES)["iv"].count() > 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fetched", "quality"),
    [
        (datetime(2018, 1, 20, tzinfo=UTC), "ok"),
        (datetime(2018, 6, 20, tzinfo=UTC), "iv_rank:warmup;iv_percentile:warmup"),
    ],
)
def test_a_rank_looks_at_what_was_known_by_then(
    make: Make, settings: Settings, tmp_path: Path, fetched: datetime, quality: str
) -> None:
    plant(settings)
    days = rank_sessions(DAY)[-251:]
    known = [decision_time(day) for day in days]
    known[100] = fetched
    blank = {name: pl.Series([None] * 251, dtype=pl.Float64) for name in CHAIN_FEATURES}
    rows = {"symbol": "SPY", "session": days, "quote_kind": "chain", "spot": SPOT, "quality": "ok"}
    rows |= {"available_at": known, "source": "test"}
    volatile = {"atm_iv_avg": [0.1 + 0.001 * (n % 7) for n in range(251)]}
    planted = pl.DataFrame(rows | blank | volatile)
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    with Warehouse.open(settings) as lake:
        lake.write(TABLES[chains.FEATURES], planted, ingested_at=known[100])
    assert make().ok
    found = read(settings, chains.FEATURES, where="session = ?", params=(DAY,))
    assert found["quality"].item() == quality
    assert found["iv_percentile"].item() == (1.0 if quality == "ok" else None)


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
    (features,) = read(settings, chains.FEATURES).iter_rows(named=True)
    assert features["quote_kind"] == "surface"
    ((_, _, present, _, note),) = covered(settings)
    assert (present, "a model's chain" in note) == (0, True)
    assert 0.09 < features["atm_iv_avg"] < 0.13  # VIX lies above the volatility at the money
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    assert make(chains=wanted).ok
    assert read(settings, chains.FEATURES)["quote_kind"].to_list() == ["chain"]
    assert covered(settings)[0][1:4] == (1, 1, 0)
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
    from spy_assets.options.chain import CHAIN_SCHEMA
    from spy_assets.options.chain_analytics import ANALYTICS_SCHEMA

    quotes = set(TABLES[chains.QUOTES].all_columns)
    assert {*CHAIN_SCHEMA, *ANALYTICS_SCHEMA} | {
        "spot_used",
        "spot_source",
        "ingested_at",
    } == quotes
    own = {"symbol", "session", "quote_kind", "spot", "quality"}
    assert set(TABLES[chains.FEATURES].columns) == {*CHAIN_FEATURES, *own}


def test_the_surface_shows_its_errors_by_expiry_and_by_deviation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from spy_assets.options import pictures
    from spy_assets.options.chain_analytics import analyse_chain

    drawn: list[Any] = []
    draw = pictures.draw

    def spied(shown: Any) -> Any:
        drawn.append(shown)
        return draw(shown)

    monkeypatch.setattr(pictures, "draw", spied)
    chain = model_chain(DAY, spot=SPOT)
    shown = chains._surface(analyse_chain(chain, rate=RATE, dividend_yield=YIELD), "SPY")
    head, _, *rows = shown["surface_by_deviation"].value.splitlines()
    assert head == "| from_sd | to_sd | points | rmse | worst |"
    counted = [int(row.split("|")[3]) for row in rows]
    assert sum(counted) == shown["surface_points"] > 100
    head, _, *expiries = shown["surface_by_expiry"].value.splitlines()
    assert head == "| days | points | rmse | worst |"
    assert sum(int(row.split("|")[2]) for row in expiries) == shown["surface_points"]
    (grid,) = (one for one in drawn if isinstance(one, pictures.SurfaceGrid))
    assert {dots.name: len(dots.days) > 50 for dots in grid.dots} == {"puts": True, "calls": True}


@pytest.mark.slow
@pytest.mark.fault(50)
def test_features_outlive_a_chain_that_no_source_has_any_more(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    plant(settings)
    drop(tmp_path / "files", DAY, cboe_rows(DAY))
    make()
    before, told = read(settings, chains.FEATURES), covered(settings)
    (file,) = Path(settings.lake_dir).glob("options/chain_quotes/*.parquet")
    file.unlink()
    forget_file(settings, str(file.relative_to(settings.lake_dir)))
    assert read(settings, chains.QUOTES).is_empty()
    run = make(files_dir=str(tmp_path / "gone"))
    assert run.ok, run.words
    assert not run.checks["provided"].passed
    assert read(settings, chains.FEATURES).equals(before)
    ((day, due, present, *_),) = covered(settings)
    assert (day, due, present) == (DAY, 1, 0)
    assert told[0][2] == 1


@pytest.mark.slow
def test_two_underlyings_are_kept_apart(tmp_path: Path) -> None:
    own = {"SPY_CHAINS__SOURCE": "files", "SPY_CHAINS__SYMBOLS": "SPY,QQQ"}
    done = subprocess.run(
        [sys.executable, "-m", "spy_assets_tests.graph.two_chains", str(tmp_path)],
        check=False, capture_output=True, text=True,
        env=os.environ | own | {"SPY_FILES_DIR": str(tmp_path / "files")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found = json.loads(line.removeprefix("FOUND "))
    spy, qqq = f"{DAY} SPY", f"{DAY} QQQ"
    first, second = found["kept"]
    assert first == {chains.QUOTES: [spy], chains.FEATURES: [spy]}
    assert second == {chains.QUOTES: [qqq, spy], chains.FEATURES: [qqq, spy]}
    # QQQ's failure kept nothing of SPY back; the second time only QQQ was missing.
    assert "option chains QQQ: options__option_chain failed" in found["told"]
    assert f"QQQ {DAY}: " in found["told"]
    assert found["steps"] == [
        ["option chains SPY", 2, 0],
        ["option chains SPY", 0, 2],
        ["option chains QQQ", 2, 0],
        ["both", 4, 0],
    ]


OBSERVING = """
import dagster as dg
from spy_assets.definitions import defs
graph = defs.resolve_asset_graph()
def observes(key):
    return dg.AssetKey(["features", "chain"]) in graph.get(dg.AssetKey(key.split("/"))).parent_keys
print(observes("models/ppo_daily"), observes("signals/daily_signal"))
print(graph.get(dg.AssetKey(["models", "ppo_daily"])).code_version)
"""


@pytest.mark.parametrize(
    ("observation", "told"),
    [("daily_15_proxy_v1", "False False 3"), ("daily_15_chain_v1", "True True 3-chain")],
)
def test_models_hang_on_chains_where_they_observe_them(
    tmp_path: Path, observation: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OBSERVING], check=False, capture_output=True, text=True,
        env=os.environ | {"SPY_OBSERVATION": observation, "SPY_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == told.split()
