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
from spy_assets.cli.option_units import as_read
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
RATELESS = ("--spot", 748, "--yield", 0.011, *AT)
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


def test_both_commands_tell_the_greeks_of_one_contract_in_the_same_units(spy, chains):
    found = chain(spy, chains, "--expiry", EXPIRIES[2], "--strikes", 2, "--json").json
    row = next(row for row in found["rows"] if (row["strike"], row["right"]) == (540, "C"))
    words = ("--spot", found["spot"], "--rate", row["rate"], "--yield", row["dividend_yield"])
    at = ("--vol", row["iv_used"], "--at", "2024-06-12T20:15Z")
    other = spy("--home", chains.home, "price", row["occ"], *words, *at, "--json").json
    for name in ("delta", "gamma", "theta_per_day", "vega_per_vol_point", "rho_per_rate_point"):
        assert row[name] == pytest.approx(other["legs"][0][name], rel=0.03), name
        assert found["units"][name] == other["units"][name]
    assert not {"theta", "vega", "rho", "vendor_theta", "vendor_vega", "vendor_rho"} & set(row)


def test_the_vendors_greeks_are_told_in_the_same_units():
    stored = pl.DataFrame(
        {"occ": ["X"], "vega": [71.0], "vendor_theta": [-73.0], "vendor_rho": [None]}
    )
    told = as_read(stored).to_dicts()[0]
    expected = {"vega_per_vol_point": 0.71, "vendor_theta_per_day": -0.2}
    assert told == pytest.approx({"occ": "X", **expected, "vendor_rho_per_rate_point": None})


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


def test_a_page_has_the_surface_the_term_and_a_smile_of_each_fitted_expiry(spy, chains, tmp_path):
    path = tmp_path / "chain.html"
    chain(spy, chains, "--expiry", EXPIRIES[2], "--picture", path, "--json")
    page = path.read_text()
    fitted = EXPIRIES[1:]  # two days ahead are too few strikes five dollars apart
    assert page.count("Plotly.newPlot(") == 2 + len(fitted)
    for kind in ("surface", "scatter3d"):
        assert f'"type":"{kind}"' in page[page.index("Plotly.newPlot(") :]
    assert all(f"SPY {day} on {SESSION}" in page for day in fitted)
    assert "<script src=" not in page


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
    assert own["total"]["theta_per_day"] == pytest.approx(theta)


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
        ((CALL, "--vol", "much", *MARKET), "not a number"),
        ((CALL, "--vol", 12, *MARKET), "--vol 12 is 1,200 %; did you mean 0.12?"),
        (
            (CALL, "--vol", 0.1, *RATELESS, "--rate", 3.6),
            "--rate 3.6 is 360 %; did you mean 0.036?",
        ),
        ((CALL, "--vol", 0.1, *RATELESS, "--rate", "nan"), "--rate nan is not a number"),
        (("SPY260822C00750000", "--vol", 0.1, *MARKET), "2026-08-22 (Saturday)"),
        ((CALL, "--vol", 0.1, "--dividend", "1.95", *MARKET), "not DATE:CASH"),
        ((CALL, "--vol", 0.1, "--dividend", "2026-08-14:0", *MARKET), "no cash above 0"),
        ((CALL, "--vol", 0.1, "--dividend", "2026-08-15:2", *MARKET), "(Saturday) is no session"),
        ((CALL, "--vol", 0.1, "--dividend", "2026-08-14:800", *MARKET), "not below --spot"),
        ((CALL, "--vol", 0.1, *(2 * ("--dividend", "2026-08-14:2")), *MARKET), "2026-08-14 twice"),
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


@pytest.mark.parametrize("style", ["--american", "--european"])
def test_the_payoff_is_drawn_with_dividends_in_cash(spy, tmp_path, style):
    words = ("--structure", "bull_call_debit", "--expiry", "2026-09-25", "--vol", 0.15, style)
    path = tmp_path / "p.svg"
    found = dividend_price(spy, tmp_path, *words, *CASH, "--picture", path)
    assert found["picture"] == str(path)
    assert "half-way" in path.read_text()


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


@pytest.mark.parametrize("words", [("--vol", 0), ("--vol", 0.15, "--at", "2026-08-21T20:00Z")])
def test_without_volatility_or_time_a_contract_is_worth_its_exercise(spy, tmp_path, words):
    market = ("--spot", 748, "--rate", 0, "--yield", 0, "--at", "2026-07-31T20:00Z", *words)
    path = tmp_path / "p.png"
    asked = ("price", "SPY260821C00740000", *market, "--picture", path, "--json")
    assert spy("--home", tmp_path, *asked).json["total"]["price"] == pytest.approx(8.0)
    assert path.exists()


def test_json_is_plain(spy, tmp_path):
    ran = spy("--home", tmp_path, "price", CALL, "--vol", 0.15, *MARKET, "--json")
    assert json.loads(ran.stdout)["risk"]["max_profit"] is None


@pytest.mark.parametrize(
    ("text", "decimal"), [("15%", 0.15), ("3.6%", 0.036), ("1200 %", 12.0), ("3", 3.0)]
)
def test_a_volatility_may_be_a_percentage(spy, tmp_path, text, decimal):
    found = spy("--home", tmp_path, "price", CALL, "--vol", text, *MARKET, "--json").json
    assert found["legs"][0]["volatility"] == decimal


# --- contracts that are not standard, or not alive ----------------------------------------------


def test_an_adjusted_contract_is_flagged_and_has_no_dollar_totals(spy, tmp_path):
    words = ("--home", tmp_path, "price", "SPY1260821C00750000", "--vol", 0.15, *MARKET)
    found = spy(*words, "--json").json
    assert (found["adjusted"], found["risk"]) == (True, None)
    assert found["total"]["price"] > 0
    assert found["notes"][0].startswith("adjusted: SPY1 delivers something else")
    shown = spy(*words).stdout
    assert "adjusted: SPY1" in shown
    assert "dollars a unit" not in shown
    assert spy(*words, "--picture", tmp_path / "p.png", "--json").code == 3


def test_an_adjusted_index_contract_is_european(spy, tmp_path):
    words = ("price", "SPX1260821C07500000", "--vol", 0.15, *MARKET, "--json")
    found = spy("--home", tmp_path, *words).json
    assert found["style"] == "european"
    assert found["settles_at"] == "2026-08-21T13:30:00+00:00"


@pytest.mark.parametrize("asked", [("--vol", 0.15), ("--price", 8.0)])
def test_an_expired_contract_says_so_and_has_no_price(spy, tmp_path, asked):
    words = ("--home", tmp_path, "price", "SPY260730C00740000", *asked, *MARKET)
    found = spy(*words, "--json").json
    assert (found["expired"], found["risk"]) == (True, None)
    assert set(found["total"].values()) == {None}
    assert "settled at 2026-07-30T20:00Z" in found["notes"][0]
    shown = spy(*words).stdout
    assert "· expired ·" in shown
    assert "breakeven" not in shown


def test_an_old_saturday_is_told(spy, tmp_path):
    words = ("--home", tmp_path, "price", "SPY120121C00130000", "--vol", 0.2, "--spot", 127)
    market = ("--rate", 0.01, "--yield", 0.02, "--at", "2012-01-03T21:00Z")
    found = spy(*words, *market, "--json").json
    assert found["settles_at"] == "2012-01-20T21:00:00+00:00"
    assert found["years"] == pytest.approx(17 / 365)
    assert "2012-01-21 (Saturday) is no session" in spy(*words, *market).stdout


# --- dividends in cash --------------------------------------------------------------------------

CASH = ("--dividend", "2026-09-18:1.95")
WITHOUT_YIELD = ("--spot", 747, "--rate", 0.036, *AT)


def dividend_price(spy, home: Path, *words: object):
    return spy("--home", home, "price", *WITHOUT_YIELD, *words, "--json").json


def test_the_exercise_before_an_ex_date_is_part_of_an_american_price(spy, tmp_path):
    """Expiry on the ex-date: a deep call gains the dividend, less the strike's interest of 6.5 hours."""
    deep = ("SPY260918C00600000", "--vol", 0.13, *CASH)
    american_, european = (
        dividend_price(spy, tmp_path, *deep, style) for style in ("--american", "--european")
    )
    gained = american_["total"]["price"] - european["total"]["price"]
    assert gained == pytest.approx(1.941 - 0.016, abs=0.002)
    near = ("SPY260918C00747000", "--vol", 0.13, *CASH)
    held = dividend_price(spy, tmp_path, *near)["total"]["price"]
    assert held - dividend_price(spy, tmp_path, *near, "--european")["total"]["price"] > 0.9
    assert american_["yield_from"] == "the dividends in cash instead"


def test_an_american_price_with_dividends_is_that_of_the_spot_model(spy, tmp_path):
    found = dividend_price(spy, tmp_path, "SPY260918P00750000", "--vol", 0.13, *CASH)
    years, ex_years = 49 / 365, (48 + 17.5 / 24) / 365
    dividends = [american.CashDividend(ex_years, 1.95)]
    market = (747.0, 750.0, years, 0.036, 0.0, 0.13, "P")
    expected = american.greeks_with_dividends(*market, dividends)
    assert found["total"]["price"] == pytest.approx(float(expected.price))
    assert found["total"]["theta_per_day"] == pytest.approx(float(expected.theta) / 365)


def test_european_theta_and_rho_move_the_escrowed_spot_too(spy, tmp_path):
    words = ("SPY260918C00740000", "--vol", 0.13, *CASH, "--european")
    total = dividend_price(spy, tmp_path, *words)["total"]
    later = dividend_price(spy, tmp_path, *words, "--at", "2026-07-31T21:00Z")["total"]
    richer = dividend_price(spy, tmp_path, *words, "--rate", 0.0361)["total"]
    assert 24 * (later["price"] - total["price"]) == pytest.approx(total["theta_per_day"], rel=1e-3)
    slope = 100 * (richer["price"] - total["price"])
    assert slope == pytest.approx(total["rho_per_rate_point"], rel=1e-3)


@pytest.mark.parametrize("style", ["--american", "--european"])
def test_the_volatility_with_dividends_gives_the_price_back(spy, tmp_path, style):
    words = ("SPY260918C00740000", *CASH, style)
    asked = dividend_price(spy, tmp_path, *words, "--vol", 0.21)["total"]["price"]
    found = dividend_price(spy, tmp_path, *words, "--price", asked)
    assert found["legs"][0]["volatility"] == pytest.approx(0.21, abs=1e-6)


@pytest.mark.parametrize(
    ("price", "status"),
    [(146.0, "below_intrinsic"), (149.877, "uninformative"), (747.0, "above_max")],
)
def test_a_price_with_dividends_without_a_volatility_says_why(spy, tmp_path, price, status):
    found = dividend_price(spy, tmp_path, "SPY260918C00600000", *CASH, "--price", price)
    assert found["iv_status"] == status


def test_dividends_outside_the_contracts_life_are_told_and_not_counted(spy, tmp_path):
    words = (CALL, "--vol", 0.15, *MARKET)
    plain = spy("--home", tmp_path, "price", *words, "--json").json
    outside = ("--dividend", "2026-06-18:2", *CASH)
    found = spy("--home", tmp_path, "price", *words, *outside, "--json").json
    assert found["total"] == plain["total"]
    assert [each["counts"] for each in found["dividends"]] == [False, False]
    assert found["notes"][-1].endswith("2026-06-18, 2026-09-18")


def test_a_yield_beside_dividends_is_told(spy, tmp_path):
    words = ("SPY260918C00740000", "--vol", 0.15, *CASH, *MARKET)
    shown = spy("--home", tmp_path, "price", *words).stdout
    assert "beside the dividends in cash" in shown
    assert "dividend 1.95 ex 2026-09-18" in shown
