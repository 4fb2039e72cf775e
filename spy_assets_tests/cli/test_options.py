"""`spy chain` and `spy price`."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from spy_assets.cli import option_chains
from spy_assets.cli.option_inputs import Carry
from spy_assets.cli.option_tables import AT_THE_MONEY, IN_THE_MONEY, chain_text
from spy_assets.options import american, black_scholes
from spy_assets.options.chain import RawChain, clean_chain
from spy_assets.options.chain_analytics import analyse_chain
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import TABLES, Warehouse
from spy_assets_tests.options.chains import EVENING, RATE, SESSION, YIELD, model_chain

GOLDEN = Path(__file__).parent / "golden" / "chain_120.txt"
CBOE = Path(__file__).parents[1] / "market" / "sources" / "chains" / "bodies" / "cboe.json"
EXPIRIES = (date(2024, 6, 14), date(2024, 6, 21), date(2024, 7, 19))
AT = ("--at", "2026-07-31T20:00Z")
MARKET = ("--spot", 748, "--rate", 0.036, "--yield", 0.011, *AT)
CALL = "SPY260821C00750000"
YEARS = 21 / 365


def small_chain() -> pl.DataFrame:
    frame = model_chain()
    return frame.filter(pl.col("expiry").is_in(EXPIRIES))


@pytest.fixture(scope="module")
def snapshot() -> option_chains.Snapshot:
    carry = Carry(RATE, YIELD, "given", "given")
    raw = RawChain(small_chain())
    return option_chains.analysed(raw, "SPY", SESSION, carry, spot=None, now=EVENING)


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with one chain, as the graph keeps it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        home = tmp_path_factory.mktemp("chains")
        settings = load_settings(home=home, source="sample", profile="sample")
    cleaned = clean_chain(RawChain(small_chain()), session=SESSION, as_of=EVENING, symbol="SPY")
    found = analyse_chain(cleaned.frame, rate=RATE, dividend_yield=YIELD)
    rows = found.contracts.with_columns(
        spot_used=pl.lit(found.spot), spot_source=pl.lit(found.spot_source)
    )
    with Warehouse.open(settings) as warehouse:
        warehouse.write(TABLES[option_chains.TABLE], rows, ingested_at=EVENING)
    return settings


def chain(spy, settings: Settings, *words: object):
    return spy("--home", settings.home, "chain", "spy", *words)


# --- spy chain ----------------------------------------------------------------------------------


def test_a_chain_looks_as_it_did(snapshot):
    view = option_chains.view_of(snapshot, expiry=EXPIRIES[1], root=None, strikes=3)
    shown = [line.rstrip() for line in chain_text(view, 120).plain.splitlines()]
    assert shown == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize(
    ("width", "left"), [(160, set()), (120, {"vega"}), (50, {"delta", "volume"})]
)
def test_a_narrow_chain_drops_columns_and_stays_within(snapshot, width, left):
    view = option_chains.view_of(snapshot, expiry=None, root=None, strikes=4)
    text = chain_text(view, width).plain
    assert max(map(len, text.splitlines())) <= width
    assert (
        all(name in text.split("without ")[1] for name in left) if left else "without" not in text
    )


def test_the_money_is_marked_and_shaded(snapshot):
    view = option_chains.view_of(snapshot, expiry=EXPIRIES[1], root=None, strikes=2)
    text = chain_text(view, 100)
    styles = [str(span.style) for span in text.spans]
    assert styles.count(AT_THE_MONEY) == 1
    assert styles.count(IN_THE_MONEY) == 5
    assert "▸ 540 ◂" in text.plain


def test_the_lakes_chain_is_shown(spy, chains):
    shown = chain(spy, chains, "--strikes", 2).stdout
    for words in ("SPY Wed 2024-06-12", "CALLS", "PUTS", "▸ 540 ◂", "[06-14]", "parity"):
        assert words in shown


def test_json_has_the_rows_shown(spy, chains):
    found = chain(spy, chains, "--expiry", EXPIRIES[2], "--strikes", 2, "--json").json
    assert found["expiry"] == str(EXPIRIES[2])
    assert found["spot"] == pytest.approx(540.0, abs=0.05)
    assert [row["strike"] for row in found["rows"][::2]] == [530, 535, 540, 545, 550]
    assert {row["right"] for row in found["rows"]} == {"C", "P"}
    assert [each["expiry"] for each in found["expiries"]] == [str(day) for day in EXPIRIES]


def test_the_expected_move_is_the_straddle(spy, chains):
    found = chain(spy, chains, "--expiry", EXPIRIES[2], "--all", "--json").json
    years, iv = found["years"], found["atm_iv"]
    straddle = 2 * float(black_scholes.price(540, 540, years, 0, 0, iv, "C"))
    assert found["expected_move"] == pytest.approx(straddle, rel=0.02)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--date", "2024-06-11"), "there are 2024-06-12"),
        (("--expiry", "2024-06-20"), "2024-06-14, 2024-06-21, 2024-07-19"),
        (("--root", "SPXW"), "its roots are SPY"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(spy, chains, words, told):
    ran = chain(spy, chains, *words, "--json")
    assert ran.code == 3
    assert ran.json["error"]["type"] == "NotProvided"
    assert told in ran.json["error"]["mend"]


def test_another_symbol_and_an_empty_lake_are_told(spy, chains, lake):
    other = spy("--home", chains.home, "chain", "QQQ", "--json")
    assert (other.code, other.json["error"]["mend"]) == (3, "there are chains of SPY")
    empty = spy("--home", lake.home, "chain", "SPY", "--json")
    assert empty.code == 3
    assert "--file" in empty.json["error"]["mend"]


def test_a_drop_of_cboes_json_is_read(spy, tmp_path):
    words = ("chain", "SPY", "--file", CBOE, "--rate", 0.05, "--yield", 0.01)
    shown = spy("--home", tmp_path, *words).stdout
    assert "quarantined: 1 bad_occ" in shown
    assert "left out: 1 adjusted" in shown
    wrong = spy("--home", tmp_path, *words, "--date", "2024-03-08", "--json")
    assert (wrong.code, wrong.json["error"]["mend"]) == (3, "its quotes are of 2024-03-07")


def test_a_drop_that_is_none_is_refused(spy, tmp_path):
    (tmp_path / "chain.json").write_text("<html>")
    (tmp_path / "chain.parquet").write_text("x")
    market = ("--rate", 0.05, "--yield", 0.01, "--json")
    for name, code in (("chain.json", 3), ("chain.parquet", 2), ("absent", 2), (".", 3)):
        ran = spy("--home", tmp_path, "chain", "SPY", "--file", tmp_path / name, *market)
        assert ran.code == code, name
        assert "chains/" in ran.json["error"]["mend"]


def test_a_drop_needs_a_rate_from_someone(spy, tmp_path):
    ran = spy("--home", tmp_path, "chain", "SPY", "--file", CBOE, "--yield", 0.01, "--json")
    assert ran.code == 2
    assert ran.json["error"]["message"].startswith("--rate not given")


def test_the_lakes_chain_takes_no_rate(spy, chains):
    ran = chain(spy, chains, "--rate", 0.05, "--json")
    assert (ran.code, "--file" in ran.json["error"]["mend"]) == (2, True)


def test_the_smile_is_drawn(spy, chains, tmp_path):
    path = tmp_path / "smile.png"
    found = chain(spy, chains, "--expiry", EXPIRIES[2], "--picture", path, "--json").json
    assert path.read_bytes().startswith(b"\x89PNG")
    assert found["fit_errors"]["near"] < 0.3


@pytest.mark.parametrize("day", ["2026-07-30", "2026-07-31"])
def test_a_real_chain_is_shown(spy, shared_data, tmp_path, day):
    market = ("--rate", 0.036, "--yield", 0.011)
    words = ("--file", shared_data, "--date", day, *market, "--json")
    found = spy("--home", tmp_path, "chain", "SPY", *words).json
    assert len(found["rows"]) == 42
    assert 0.05 < found["atm_iv"] < 0.4
    assert all(row["bid"] <= row["ask"] for row in found["rows"])


def test_a_real_file_of_another_day_is_refused(spy, shared_data, tmp_path):
    path = shared_data / "chains" / "cboe" / "SPY" / "2026-07-23.parquet"
    ran = spy("--home", tmp_path, "chain", "SPY", "--file", path, "--rate", 0, "--yield", 0)
    assert ran.code == 3
    assert "stale" in ran.stderr


# --- spy price ----------------------------------------------------------------------------------


def test_a_contract_is_priced_by_the_style_of_its_root(spy, tmp_path):
    put = ("price", "SPY260821P00760000", "--vol", 0.15, *MARKET, "--json")
    own = spy("--home", tmp_path, *put).json
    other = spy("--home", tmp_path, *put, "--european").json
    market = (748.0, 760.0, YEARS, 0.036, 0.011, 0.15, "P")
    assert own["style"] == "american"
    assert own["total"]["price"] == pytest.approx(float(american.price(*market)))
    assert other["total"]["price"] == pytest.approx(float(black_scholes.price(*market)))
    theta = float(american.greeks(*market).theta) / 365
    assert own["total"]["theta"] == pytest.approx(theta)


def test_a_structure_is_the_sum_of_its_legs(spy, tmp_path):
    words = ("price", "--structure", "iron-condor", "--expiry", "2026-08-21", "--vol", 0.15)
    found = spy("--home", tmp_path, *words, *MARKET, "--json").json
    assert [leg["quantity"] for leg in found["legs"]] == [1, -1, -1, 1]
    total = sum(leg["quantity"] * leg["price"] for leg in found["legs"])
    assert found["total"]["price"] == pytest.approx(total)
    assert found["risk"]["max_profit"] == pytest.approx(-100 * total)
    assert found["risk"]["max_profit"] + found["risk"]["max_loss"] == pytest.approx(500.0)
    shown = spy("--home", tmp_path, *words, *MARKET).stdout
    for word in ("Iron condor", "738/743/753/758", "total", "brings in", "breakeven", "yield from"):
        assert word in shown


@pytest.mark.parametrize("style", ["--american", "--european"])
def test_the_implied_volatility_gives_the_price_back(spy, tmp_path, style):
    words = ("price", "SPY260821P00770000", *MARKET, style, "--json")
    asked = spy("--home", tmp_path, *words, "--vol", 0.21).json["total"]["price"]
    found = spy("--home", tmp_path, *words, "--price", asked).json
    assert found["iv_status"] == "ok"
    assert found["legs"][0]["volatility"] == pytest.approx(0.21, abs=1e-6)


@pytest.mark.parametrize(
    ("symbol", "price", "status"),
    [
        (CALL, 749.0, "above_max"),
        ("SPY260821P00760000", 11.0, "below_intrinsic"),
        ("SPY260821P00760000", 12.0, "uninformative"),
        ("SPY260730C00750000", 1.0, "expired"),
    ],
)
def test_a_price_without_a_volatility_says_why(spy, tmp_path, symbol, price, status):
    words = ("--home", tmp_path, "price", symbol, *MARKET, "--price", price)
    found = spy(*words, "--json")
    assert (found.code, found.json["iv_status"]) == (0, status)
    assert found.json["legs"][0]["delta"] is None
    assert status.replace("_", " ") in " ".join(spy(*words).stdout.split())
    drawn = spy(*words, "--picture", tmp_path / "p.png", "--json")
    assert (drawn.code, drawn.json["error"]["type"]) == (3, "DataError")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((CALL, *MARKET), "neither --vol nor --price"),
        ((CALL, "--vol", 0.1, "--price", 1, *MARKET), "exclude"),
        ((CALL, "--vol", 0.1, "--spot", 748, "--rate", 0.03, *AT), "--yield not given"),
        ((CALL, "--vol", 0.1), "--spot is missing"),
        ((CALL, "--vol", -0.1, *MARKET), "not a volatility"),
        ((CALL, "--vol", "nan", *MARKET), "not a volatility"),
        ((CALL, "--vol", 0.1, "--vol", 0.2, *MARKET), "2 volatilities for 1 legs"),
        (("SPY", "--vol", 0.1, *MARKET), "not an OCC"),
        (("--vol", 0.1, *MARKET), "one contract, or one --structure"),
        (("--structure", "hold", "--expiry", "2026-08-21", "--vol", 1, *MARKET), "no legs"),
        (("--structure", "condor", "--expiry", "2026-08-21", "--vol", 1, *MARKET), "no structure"),
        (("--structure", "long_call", "--vol", 0.1, *MARKET), "needs --expiry"),
        (("--structure", "long_call", "--expiry", "soon", "--vol", 1, *MARKET), "not a date"),
        ((CALL, "--vol", 0.1, *MARKET[:-1], "2026-07-31T20:00"), "no time zone"),
        ((CALL, "--vol", 0.1, *MARKET[:-1], "today"), "not a moment"),
        ((CALL, "--vol", 0.1, *MARKET, "--picture", "p.gif"), "no format"),
        ((CALL, "--vol", 0.1, *MARKET, "--picture", "/absent/p.png"), "no folder"),
    ],
)
def test_what_is_missing_or_wrong_is_told(spy, tmp_path, words, told):
    ran = spy("--home", tmp_path, "price", *words, "--json")
    assert ran.code == 2
    assert told in ran.json["error"]["message"]
    assert ran.json["error"]["mend"]


@pytest.mark.parametrize(("name", "start"), [("p.html", b"<!doctype html>"), ("p.svg", b"<?xml")])
def test_the_payoff_is_drawn(spy, tmp_path, name, start):
    path = tmp_path / name
    words = ("--structure", "long_straddle", "--expiry", "2026-08-21", "--vol", 0.15)
    shown = spy("--home", tmp_path, "price", *words, *MARKET, "--picture", path).stdout
    assert path.read_bytes().lstrip().startswith(start)
    assert name in "".join(shown.split())


def test_rate_and_yield_come_from_the_lake(spy, tmp_path):
    """A fresh rate and a year of bars are used, and named; a stale rate is not."""
    settings = load_settings(home=tmp_path, source="sample", profile="sample")
    write_market(settings)
    words = (
        "--home",
        tmp_path,
        "price",
        "SPY190118C00260000",
        "--spot",
        250,
        "--vol",
        0.2,
        "--json",
    )
    found = spy(*words, "--at", "2018-12-31T21:00Z").json
    assert found["rate_from"] == "the lake's DTB3 of 2018-12-28"
    assert found["dividend_yield"] == pytest.approx(0.01980, abs=1e-4)
    stale = spy(*words, "--at", "2019-01-16T21:00Z")
    assert stale.code == 2
    assert "--rate and --yield not given" in stale.json["error"]["message"]


def write_market(settings: Settings) -> None:
    from spy_assets.sessions import session_close, sessions_between

    days = sessions_between(date(2017, 12, 1), date(2018, 12, 31))
    closes = [session_close(day) for day in days]
    bars = pl.DataFrame({"session": days, "event_time": closes, "available_at": closes}).with_columns(
        symbol=pl.lit("SPY"), source=pl.lit("test"), volume=pl.lit(1e8), split=pl.lit(1.0),
        dividend=pl.when(pl.col("session") == date(2018, 6, 15)).then(5.0).otherwise(0.0),
        **{name: pl.lit(250.0) for name in ("open", "high", "low", "close")},
    )  # fmt: skip
    known = datetime(2018, 12, 28, 22, tzinfo=UTC)
    rates = pl.DataFrame(
        {"series": ["DTB3"], "session": [date(2018, 12, 28)], "event_time": [known], "rate": [0.024],
         "is_constant": [False], "source": ["test"], "available_at": [known]}
    )  # fmt: skip
    with Warehouse.open(settings) as warehouse:
        for table, frame in (("market.daily_bars", bars), ("market.rates", rates)):
            order = list(TABLES[table].all_columns)
            wanted = [name for name in order if name in frame.columns]
            warehouse.write(
                TABLES[table], frame.select(wanted), ingested_at=datetime(2019, 1, 1, tzinfo=UTC)
            )


@pytest.mark.parametrize("words", [("--vol", 0), ("--vol", 0.15, "--at", "2026-08-22T00:00Z")])
def test_without_volatility_or_time_a_contract_is_worth_its_exercise(spy, tmp_path, words):
    market = ("--spot", 748, "--rate", 0, "--yield", 0, "--at", "2026-07-31T20:00Z", *words)
    path = tmp_path / "p.png"
    asked = ("price", "SPY260821C00740000", *market, "--picture", path, "--json")
    assert spy("--home", tmp_path, *asked).json["total"]["price"] == pytest.approx(8.0)
    assert path.exists()


def test_json_is_plain(spy, tmp_path):
    ran = spy("--home", tmp_path, "price", CALL, "--vol", 0.15, *MARKET, "--json")
    assert json.loads(ran.stdout)["risk"]["max_profit"] is None
