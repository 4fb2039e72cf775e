"""Forwards, times, volatilities and Greeks of chains whose truth is known, and of real ones."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import DataError
from spy_assets.options import american, black_scholes
from spy_assets.options.chain import CHAIN_SCHEMA, clean_chain
from spy_assets.options.chain_analytics import (
    ANALYTICS_SCHEMA,
    FORWARDS_SCHEMA,
    GREEKS,
    ChainAnalytics,
    analyse_chain,
    implied_forwards,
    implied_spot,
    parity_pairs,
    with_rate,
    with_years,
)
from spy_assets.options.expiries import options_close
from spy_assets.sessions import session_close, session_open
from spy_assets_tests.options.chains import (
    MARKET,
    RATE,
    SESSION,
    SPOT,
    YIELD,
    at_the_money,
    cleaned,
    model_chain,
    real_chain,
    smile,
    spoil,
)

CHAIN = model_chain()


def analysed(chain: pl.DataFrame = CHAIN, **given: object) -> ChainAnalytics:
    return analyse_chain(chain, **{**MARKET, **given})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def full() -> ChainAnalytics:
    return analysed()


def test_schemas(full):
    assert dict(full.contracts.schema) == {**CHAIN_SCHEMA, **ANALYTICS_SCHEMA}
    assert dict(full.forwards.schema) == FORWARDS_SCHEMA
    assert full.contracts.select(CHAIN_SCHEMA.keys()).equals(CHAIN)


def test_the_spot_at_the_time_of_the_quotes_is_found_by_parity(full):
    stale = analysed(CHAIN.with_columns(spot=pl.lit(SPOT * 1.004)))
    for got in (full, stale):
        assert got.spot_source == "parity"
        assert got.spot == pytest.approx(SPOT, abs=0.02)


def test_forwards_are_those_that_made_the_prices(full):
    true = SPOT * ((RATE - YIELD) * full.forwards["years"]).exp()
    assert (full.forwards["forward"] - true).abs().max() < 0.03
    later = full.forwards.filter(pl.col("years") > 0.01)
    assert later["method"].unique().to_list() == ["parity"]
    assert (later["dividend_yield"] - YIELD).abs().max() < 2e-3


def test_a_few_mad_quotes_do_not_move_a_forward():
    row = at_the_money(CHAIN)
    mad = spoil(spoil(CHAIN, row, bid=60.0, ask=60.1), row + 3, bid=0.01, ask=55.0)
    got, want = analysed(mad).forwards["forward"], analysed().forwards["forward"]
    assert (got - want).abs().max() < 0.02


def test_bounds_hold_the_forward(full):
    inside = full.forwards.filter(
        pl.col("forward").is_between(pl.col("forward_low"), pl.col("forward_high"))
    )
    assert inside.height == full.forwards.height


def test_volatilities_are_those_that_made_the_prices(full):
    solved = full.contracts.filter((pl.col("iv_status") == "ok") & pl.col("is_otm"))
    true = smile(solved["strike"].to_numpy() / SPOT, solved["years"].to_numpy())
    assert solved.height > 700
    assert np.abs(solved["iv"].to_numpy() - true).max() < 2e-4


def test_european_chains_give_back_their_truth():
    got = analysed(model_chain(root="SPXW"))
    later = got.forwards.filter(pl.col("years") > 0.01)
    true = SPOT * ((RATE - YIELD) * later["years"]).exp()
    assert (later["forward"] - true).abs().max() < 1e-9
    solved = got.contracts.filter((pl.col("iv_status") == "ok") & pl.col("is_otm"))
    truth = smile(solved["strike"].to_numpy() / SPOT, solved["years"].to_numpy())
    assert np.abs(solved["iv"].to_numpy() - truth).max() < 1e-9
    assert got.contracts["early_exercise"].unique().to_list() == [0.0]


def test_early_exercise_is_taken_off_american_prices(full):
    asif = analysed(CHAIN.with_columns(root=pl.lit("SPXW")))
    year = pl.col("years").is_between(0.9, 1.5)
    true = SPOT * ((RATE - YIELD) * full.forwards["years"]).exp()
    errors = [(found.forwards["forward"] - true).abs() for found in (full, asif)]
    assert errors[0].max() < 0.03
    assert errors[1].max() > 3.0
    deep = full.contracts.filter(year & (pl.col("right") == "P") & (pl.col("strike") > 600))
    assert deep["early_exercise"].min() > 1.0


def test_every_row_has_a_volatility_or_a_reason(full):
    told = full.contracts.group_by("iv_status").agg(pl.col("iv").is_null().all().alias("null"))
    assert dict(told.iter_rows()) == {
        status: status != "ok" for status in told["iv_status"].to_list()
    }
    assert {"ok", "zero_bid", "expired"} <= set(told["iv_status"])


def test_greeks_use_the_side_out_of_the_money(full):
    key = ["expiry", "strike"]
    sides = (
        full.contracts.filter(pl.col("iv_used").is_not_null())
        .pivot("right", index=key, values=["gamma", "iv_used"])
        .drop_nulls()
    )
    assert sides.height > 700
    assert (sides["iv_used_C"] - sides["iv_used_P"]).abs().max() == 0.0


def test_greeks_are_those_of_the_american_contract(full):
    rows = full.contracts.filter(pl.col("iv_used").is_not_null() & (pl.col("years") > 0.002))
    rows = rows.join(full.forwards, on=["root", "expiry"], suffix="_told")
    names = ("strike", "years", "rate", "dividend_yield", "iv_used")
    market = (full.spot, *(rows[name].to_numpy() for name in names), rows["right"].to_list())
    true = american.greeks(*market)
    apart = {name: np.abs(rows[name].to_numpy() - getattr(true, name)) for name in GREEKS}
    assert apart["delta"].max() < 0.02
    # The last twentieth lies at the boundary, where all but delta drop to 0.
    limits = {"delta": 0.0005, "gamma": 1e-4, "vega": 0.5, "rho": 4.0, "theta": 3.0}
    assert {name: np.quantile(apart[name], 0.95) < most for name, most in limits.items()} == (
        dict.fromkeys(limits, True)
    )
    assert rows.filter(pl.col("early_exercise") > 1.0).height > 100


def test_what_is_to_be_exercised_now_is_a_share(full):
    due = full.contracts.filter((pl.col("delta") == -1.0) & (pl.col("years") > 0.002))
    assert due.height > 20
    assert set(due["right"]) == {"P"}
    rest = due.select("gamma", "theta", "vega", "rho")
    assert rest.to_numpy().tolist() == [[0.0] * 4] * due.height


def test_the_greeks_of_european_options_stay_european():
    got = analysed(model_chain(root="SPXW"))
    rows = got.contracts.filter(pl.col("iv_used").is_not_null())
    names = ("strike", "years", "rate", "dividend_yield", "iv_used")
    market = (got.spot, *(rows[name].to_numpy() for name in names), rows["right"].to_list())
    true = black_scholes.all_greeks(*market)
    for name in GREEKS:
        np.testing.assert_array_equal(rows[name].to_numpy(), getattr(true, name))


def test_all_greeks_given_are_finite(full):
    for name in GREEKS:
        assert full.contracts[name].drop_nulls().is_finite().all()


def test_contracts_of_the_day_have_settled_after_the_close(full):
    today = full.contracts.filter(expiry=SESSION)
    assert today["years"].unique().to_list() == [0.0]
    assert today["iv"].null_count() == today.height
    deltas = today.filter(right="C", strike=500.0)["delta"].to_list()
    assert deltas == [1.0]


def test_quotes_after_the_close_are_of_the_close():
    night = model_chain(quoted_at=datetime(2024, 6, 13, 2, tzinfo=UTC))
    years = with_years(night)["years"].to_list()
    assert years == with_years(CHAIN)["years"].to_list()


def test_years_count_seconds_to_the_settlement():
    opened = session_open(SESSION)
    got = with_years(model_chain(quoted_at=opened)).filter(expiry=SESSION)["years"][0]
    assert got == pytest.approx(6.5 / 24 / 365)


def test_am_series_end_at_the_open():
    chain = CHAIN.filter(pl.col("expiry") == date(2024, 6, 21)).with_columns(root=pl.lit("SPX"))
    pm = with_years(CHAIN.filter(pl.col("expiry") == date(2024, 6, 21)))["years"][0]
    assert (pm - with_years(chain)["years"][0]) * 365 * 24 == pytest.approx(6.5)


def test_a_quote_without_a_time_needs_one_given():
    undated = CHAIN.with_columns(quoted_at=pl.lit(None, CHAIN.schema["quoted_at"]))
    got = analysed(undated)
    assert got.contracts["years"].null_count() == CHAIN.height
    assert set(got.contracts["iv_status"]) == {"no_time"}
    given = with_years(undated, at=datetime(2024, 6, 12, 22, tzinfo=UTC))
    assert given["years"].to_list() == with_years(CHAIN)["years"].to_list()


def test_one_sided_quotes_have_no_mid_and_no_volatility():
    row = at_the_money(CHAIN)
    got = analysed(spoil(CHAIN, row, ask=None)).contracts.row(row, named=True)
    assert (got["mid"], got["iv"], got["iv_status"]) == (None, None, "no_quote")
    assert got["delta"] is None or math.isfinite(got["delta"])


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_a_quote_that_is_missing_is_told(side):
    row = at_the_money(CHAIN)
    got = analysed(spoil(CHAIN, row, **{side: None})).contracts
    assert got["iv_status"][row] == "no_quote"
    assert "invalid" not in set(got["iv_status"])


def test_rates_may_differ_by_expiry():
    first, second = CHAIN["expiry"].unique().sort()[1:3]
    got = with_rate(CHAIN, {first: 0.04, second: 0.05})
    assert dict(got.select("expiry", "rate").unique().drop_nulls().iter_rows()) == {
        first: 0.04, second: 0.05,
    }  # fmt: skip
    assert got.filter(~pl.col("expiry").is_in([first, second]))["rate"].null_count() > 0


def test_an_expiry_without_a_rate_has_no_forward_and_no_volatility():
    known = CHAIN["expiry"].unique().sort()[:8].to_list()
    got = analysed(rate=dict.fromkeys(known, RATE)).contracts
    rest = got.filter(~pl.col("expiry").is_in(known))
    assert rest.height > 0
    assert rest.select("forward", "iv", "delta").null_count().row(0) == (rest.height,) * 3
    assert set(rest["iv_status"]) == {"no_rate"}
    assert got.filter(pl.col("expiry").is_in(known))["iv"].null_count() < got.height


def test_without_pairs_the_forward_is_carried_from_the_spot():
    calls = CHAIN.filter(right="C")
    got = analysed(calls)
    assert (got.spot, got.spot_source) == (SPOT, "vendor")
    assert set(got.forwards["method"]) == {"carry"}
    assert got.forwards["pairs"].sum() == 0


def test_without_pairs_and_spot_there_is_no_forward_and_no_volatility():
    bare = CHAIN.filter(right="C").with_columns(spot=pl.lit(None, pl.Float64))
    got = analysed(bare)
    assert (got.spot, got.spot_source) == (None, "none")
    assert set(got.forwards["method"]) == {"none"}
    assert got.contracts["iv"].null_count() == bare.height
    assert got.contracts["delta"].null_count() == bare.height


def test_a_spot_may_be_given():
    assert analysed(spot=541.0).spot == 541.0


#: SPY goes ex on the third Friday of September, which is a main expiry.
EX_SESSION, EX_DATE, CASH = date(2026, 7, 31), date(2026, 9, 18), 1.95


def quarterly_chain() -> pl.DataFrame:
    """Expiries around an ex-date, priced with cash dividends at one volatility."""
    spot, rate, sigma = 747.0, 0.037, 0.13
    days = [date(2026, 9, 11), EX_DATE, date(2026, 9, 30)]
    frame = model_chain(EX_SESSION, spot=spot).filter(pl.col("expiry").is_in(days))
    frame = frame.filter(pl.col("strike").is_between(690.0, 810.0))
    years = with_years(frame)["years"].to_numpy()
    last_close = session_close(date(2026, 9, 17))
    ex_years = (last_close - options_close(EX_SESSION)).total_seconds() / 86400 / 365
    dividend = [american.CashDividend(ex_years, CASH)]
    market = (spot, frame["strike"].to_numpy(), years, rate, 0.0, sigma, frame["right"].to_list())
    mid = american.price_with_dividends(*market, dividend)
    return frame.with_columns(bid=pl.Series(mid - 0.01), ask=pl.Series(mid + 0.01))


def test_exercise_before_an_ex_date_is_taken_off():
    chain = quarterly_chain()
    given = {"rate": 0.037, "dividend_yield": 0.0105, "spot": 747.0}
    got = analysed(chain, **given, dividends=[(EX_DATE, CASH)])
    near = got.contracts.filter(pl.col("strike").is_between(735, 765) & pl.col("is_otm"))
    assert (near["iv"] - 0.13).abs().max() < 0.0005
    call = got.contracts.filter(expiry=EX_DATE, right="C", strike=745.0)
    assert call["early_exercise"][0] == pytest.approx(0.93, abs=0.1)
    told = got.forwards.row(by_predicate=pl.col("expiry") == EX_DATE, named=True)
    grown = 747.0 * math.exp(0.037 * told["years"])
    assert told["forward"] == pytest.approx(grown - CASH, abs=0.05)
    blind = analysed(chain, **given).contracts.filter(expiry=EX_DATE, strike=750.0, right="C")
    assert blind["iv"][0] > 0.1325


def test_calls_without_a_dividend_are_not_exercised():
    got = analysed(quarterly_chain(), dividends=[], spot=747.0).contracts.filter(right="C")
    assert got["early_exercise"].max() < 1e-6


def test_dividends_lead_from_the_nearest_forwards_to_the_spot():
    ex_date = date(2024, 6, 14)
    forwards = analysed().forwards.with_columns(
        forward=pl.when(pl.col("expiry") >= ex_date).then(SPOT - 2.0).otherwise(SPOT),
        rate=pl.lit(0.0),
    )
    assert implied_spot(forwards, 0.0, [(ex_date, 2.0)]) == pytest.approx(SPOT)
    assert implied_spot(forwards, 0.0) == pytest.approx(SPOT - 2.0)


def test_without_pairs_dividends_carry_the_forward():
    ex_date = date(2024, 6, 21)
    got = analysed(CHAIN.filter(right="C"), dividends=[(ex_date, 2.0)]).forwards
    grown = SPOT * (RATE * got["years"]).exp()
    below = dict(zip(got["expiry"], (grown - got["forward"]).to_list(), strict=True))
    assert {day: round(gap, 1) for day, gap in below.items() if day < date(2024, 8, 1)} == {
        day: 2.0 if day >= ex_date else 0.0 for day in below if day < date(2024, 8, 1)
    }


def test_adjusted_contracts_say_nothing_about_forwards():
    assert parity_pairs(
        with_rate(with_years(CHAIN.with_columns(is_adjusted=True)), RATE)
    ).is_empty()
    timed = with_rate(with_years(CHAIN.with_columns(is_adjusted=True)), RATE)
    assert implied_forwards(timed).is_empty()


@pytest.mark.parametrize(
    "given", [{"rate": math.nan}, {"dividend_yield": math.inf}, {"spot": -1.0}]
)
def test_numbers_that_are_none_are_refused(given):
    with pytest.raises(DataError, match=r"nan|inf|-1\.0"):
        analysed(**given)


def test_two_underlyings_are_refused():
    with pytest.raises(DataError, match="QQQ"):
        analysed(spoil(CHAIN, 0, symbol="QQQ"))


def test_an_empty_chain_gives_empty_tables():
    got = analysed(CHAIN.clear())
    assert (got.contracts.height, got.forwards.height, got.spot) == (0, 0, None)


@pytest.fixture(scope="module")
def real(shared_data):
    session = date(2026, 7, 29)
    raw = real_chain(shared_data, "2026-07-29")
    return clean_chain(
        raw, session=session, as_of=datetime(2026, 7, 30, tzinfo=UTC), symbol="SPY"
    ).frame


def test_real_quotes_are_of_another_spot_than_the_vendor_tells(real):
    got = analysed(real, rate=0.036, dividend_yield=0.0105)
    assert got.spot == pytest.approx(
        728.4, abs=0.3
    )  # the close was 729.46, the evening's price 731.88
    assert got.forwards.filter(pl.col("years") < 0.1)["dispersion"].max() < 0.10


def test_calls_and_puts_of_a_real_chain_agree_at_the_money(real):
    got = analysed(real, rate=0.036, dividend_yield=0.0105).contracts
    month = got.filter(pl.col("years").is_between(20 / 365, 100 / 365))
    near = month.filter((pl.col("strike") / pl.col("forward") - 1).abs() < 0.01)
    sides = near.pivot("right", index=["expiry", "strike"], values="iv").drop_nulls()
    assert sides.height > 80
    assert (sides["C"] - sides["P"]).abs().quantile(0.95) < 0.003


#: The dividends that the year to the summer of 2026 leads to expect: each of a year before.
EXPECTED = (
    (date(2026, 9, 18), 1.8311), (date(2026, 12, 18), 1.9934), (date(2027, 3, 19), 1.79),
    (date(2027, 6, 17), 1.88), (date(2027, 9, 17), 1.8311), (date(2027, 12, 17), 1.9934),
    (date(2028, 3, 17), 1.79), (date(2028, 6, 16), 1.88), (date(2028, 9, 15), 1.8311),
)  # fmt: skip


def test_deltas_of_a_real_chain_are_near_the_vendors(real):
    got = analysed(real, rate=0.037, dividend_yield=0.0105, dividends=EXPECTED).contracts
    rows = got.filter((pl.col("years") > 0) & (pl.col("vendor_iv") > 0) & (pl.col("bid") > 0))
    apart = (rows["delta"] - rows["vendor_delta"]).abs().drop_nulls()
    assert apart.mean() < 0.003
    assert (apart > 0.05).mean() < 0.002


def test_the_ex_date_of_a_real_chain_is_no_step_in_volatility(real):
    got = analysed(real, rate=0.037, dividend_yield=0.0105, dividends=EXPECTED)
    forward = dict(got.forwards.select("expiry", "forward").iter_rows())
    assert 0.5 < forward[date(2026, 9, 30)] - forward[EX_DATE] < 1.5
    near = got.contracts.filter((pl.col("strike") / pl.col("forward") - 1).abs() < 0.005)
    apart = near.group_by("expiry").agg((pl.col("iv") - pl.col("vendor_iv")).mean()).rows()
    gap = dict(apart)
    around = [gap[day] for day in (date(2026, 9, 4), date(2026, 9, 30), date(2026, 10, 16))]
    assert abs(gap[EX_DATE] - sum(around) / 3) < 0.0008


def test_a_snapshot_of_noon_values_todays_contracts():
    noon = datetime(2024, 6, 12, 16, tzinfo=UTC)
    got = analysed(model_chain(quoted_at=noon)).contracts.filter(expiry=SESSION)
    assert got["years"][0] == pytest.approx(4 / 24 / 365)
    assert got.filter(strike=SPOT)["iv"].null_count() == 0


def test_valued_at_is_the_quote_while_the_market_is_open():
    early, late = (
        with_years(model_chain(quoted_at=session_open(SESSION) + timedelta(hours=h)))["years"].max()
        for h in (0, 1)
    )
    assert (early - late) * 365 * 24 == pytest.approx(1.0)


def test_a_quote_that_still_stands_is_valued_at_the_snapshots_moment():
    """One that last changed at the open is worth what it is now, and expires with the others."""
    chain = model_chain()
    quiet = (pl.col("strike") / SPOT - 1).abs() > 0.02
    opened = pl.when(quiet).then(pl.lit(session_open(SESSION))).otherwise("quoted_at")
    older = analyse_chain(cleaned(chain.with_columns(quoted_at=opened)).frame, **MARKET).contracts
    told = analyse_chain(cleaned(chain).frame, **MARKET).contracts
    names = ["occ", "years", "iv", "iv_status", "delta"]
    assert older.select(names).equals(told.select(names))
