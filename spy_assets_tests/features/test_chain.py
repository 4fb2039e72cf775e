"""Features of chains: definitions on chains of known truth, reasons where there is no number."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.features.chain import (
    CHAIN_FEATURES,
    REASONS,
    Measured,
    at_maturity,
    chain_features,
    gamma_exposure,
    interpolate,
    max_pain,
    rank_and_percentile,
    rank_sessions,
)
from spy_assets.features.chain_observation import daily_15_chain, in_time
from spy_assets.features.contracts import (
    DAILY_15_CHAIN_V1,
    DAILY_15_PROXY_V1,
    get_contract,
    render_markdown,
)
from spy_assets.features.observation import (
    IncompleteObservation,
    build_observation,
    missing_reasons,
    portfolio_dimensions,
)
from spy_assets.options.chain import clean_chain
from spy_assets.options.chain_analytics import ChainAnalytics, analyse_chain
from spy_assets.options.contracts import nearest_expiry
from spy_assets.sessions import decision_time, previous_session
from spy_assets_tests.options.chains import (
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
    with_saturdays,
)

CHAIN = model_chain()
COUNTS = ("volume", "open_interest")
ACCOUNT = portfolio_dimensions(value=100_000.0, initial_capital=100_000.0)


def analysed(chain: pl.DataFrame = CHAIN) -> ChainAnalytics:
    return analyse_chain(chain, rate=RATE, dividend_yield=YIELD)


@pytest.fixture(scope="module")
def full() -> ChainAnalytics:
    return analysed()


@pytest.fixture(scope="module")
def row(full):
    return chain_features(full, session=SESSION).row(0, named=True)


def reasons(chain: pl.DataFrame) -> dict[str, str]:
    quality = chain_features(analysed(chain), session=SESSION)["quality"].item()
    return dict(part.split(":") for part in quality.split(";")) if quality != "ok" else {}


def test_columns_are_the_defined_ones_in_order(full):
    frame = chain_features(full, session=SESSION)
    assert frame.columns == ["session", *CHAIN_FEATURES, "spot", "quality"]
    assert all(frame.schema[name] == pl.Float64 for name in CHAIN_FEATURES)
    assert len(CHAIN_FEATURES) >= 14 + 5


def test_volatility_at_the_money_is_that_of_the_smile(row):
    forward = SPOT * math.exp((RATE - YIELD) * 30 / 365)
    true = float(smile(pl.Series([forward / SPOT]).to_numpy(), pl.Series([30 / 365]).to_numpy())[0])
    for name in ("atm_iv_call", "atm_iv_put", "atm_iv_avg"):
        assert row[name] == pytest.approx(true, abs=3e-4)


def test_skews_have_the_sign_of_the_smile(row):
    assert 0.005 < row["iv_skew_25d"] < 0.02
    assert row["risk_reversal_25d"] == -row["iv_skew_25d"]
    assert row["iv_skew_otm"] > 0
    assert row["iv_term_slope"] == pytest.approx(
        0.02 * (math.sqrt(90 / 365) - math.sqrt(30 / 365)), abs=3e-3
    )


def test_activity_adds_up(row):
    alive = CHAIN.filter(pl.col("expiry") > SESSION)
    assert row["call_volume"] + row["put_volume"] == CHAIN["volume"].sum()
    assert row["call_open_interest"] + row["put_open_interest"] == alive["open_interest"].sum()
    assert row["pcr_volume"] == row["put_volume"] / row["call_volume"]
    assert row["pcr_open_interest"] == row["put_open_interest"] / row["call_open_interest"]


def test_near_the_money_is_within_two_per_cent(row):
    near = CHAIN.filter(pl.col("strike").is_between(SPOT * 0.98, SPOT * 1.02))
    assert near["strike"].unique().sort().to_list() == [530.0, 535.0, 540.0, 545.0, 550.0]
    assert row["near_call_volume"] == near.filter(right="C")["volume"].sum()
    assert row["near_pcr_volume"] == row["near_put_volume"] / row["near_call_volume"]
    assert row["near_put_open_interest"] < row["put_open_interest"]


def exposure(frame: pl.DataFrame) -> tuple[Measured, Measured]:
    return gamma_exposure(frame.with_columns(years=pl.lit(0.1), bid=pl.lit(1.0)), 100.0)


def test_gamma_exposure_is_the_formula_of_the_inventory():
    frame = pl.DataFrame(
        {
            "right": ["C", "P"],
            "gamma": [0.02, 0.03],
            "open_interest": [10, 20],
            "strike": [100.0, 90.0],
        }
    )
    net, balance = exposure(frame)
    assert net.value == pytest.approx(-0.02 * 100**2 * 10 * 100 + 0.03 * 100**2 * 20 * 100)
    assert balance.value == pytest.approx((-0.2 + 0.6) / (0.2 + 0.6))


def test_gamma_exposure_needs_nine_tenths_of_the_gammas():
    frame = pl.DataFrame({"right": ["C", "P"], "gamma": [0.02, None], "open_interest": [10, 20]})
    assert exposure(frame)[0] == Measured(None, "no_gamma")
    assert exposure(frame.with_columns(open_interest=pl.Series([95, 5])))[0].value is not None
    assert exposure(frame.with_columns(open_interest=0))[0] == Measured(None, "no_open_interest")


def test_max_pain_by_hand():
    frame = pl.DataFrame(
        {"right": ["C", "C", "P"], "strike": [90.0, 100.0, 110.0], "open_interest": [5, 1, 4]}
    )
    # Paid out at 90: 4*20 = 80; at 100: 5*10 + 4*10 = 90; at 110: 5*20 + 1*10 = 110.
    assert max_pain(frame) == Measured(90.0)
    assert max_pain(frame.with_columns(open_interest=0)) == Measured(None, "no_open_interest")


@given(
    st.lists(st.tuples(st.sampled_from("CP"), st.integers(80, 120), st.integers(0, 50)), min_size=1)
)
@settings(deadline=None, max_examples=50)
def test_max_pain_is_the_minimum_of_all_strikes(contracts):
    kinds = {"right": pl.String, "strike": pl.Float64, "open_interest": pl.Int64}
    frame = pl.DataFrame(contracts, schema=kinds, orient="row")
    got = max_pain(frame)

    def paid(at: float) -> float:
        return sum(n * max((at - k) if r == "C" else (k - at), 0.0) for r, k, n in contracts)

    if not any(n for _, _, n in contracts):
        assert got.reason == "no_open_interest"
    else:
        assert paid(got.value) == min(paid(k) for _, k, _ in contracts)


def test_expected_move_is_the_straddle(row):
    expiry = nearest_expiry(SESSION, 7)
    years = (expiry - SESSION).days / 365
    sigma = float(smile(pl.Series([1.0]).to_numpy(), pl.Series([years]).to_numpy())[0])
    assert row["expected_move"] == pytest.approx(
        math.sqrt(2 / math.pi) * sigma * math.sqrt(years), rel=0.05
    )
    assert row["max_pain_distance"] == pytest.approx(row["max_pain"] / row["spot"] - 1)


def test_interpolation_never_extrapolates():
    assert interpolate([2.0, 1.0], [20.0, 10.0], 1.5) == 15.0
    assert interpolate([1.0, 2.0], [1.0, 2.0], 0.9) is None
    assert interpolate([], [], 1.0) is None
    assert at_maturity([(0.1, 0.2)], 30) is None
    assert at_maturity([(0.2, 0.2), (0.1, 0.2)], 30) is None


def test_variance_is_linear_in_time():
    near, far = (20 / 365, 0.30), (40 / 365, 0.20)
    total = (0.30**2 * 20 + 0.20**2 * 40) / 2
    assert at_maturity([far, near], 30) == pytest.approx(math.sqrt(total / 30))


def test_rank_and_percentile_of_a_year():
    history = [0.10 + 0.001 * (i % 100) for i in range(400)]
    got = rank_and_percentile(Measured(0.15), history)
    before = history[-251:]
    assert got["iv_rank"].value == pytest.approx((0.15 - 0.10) / 0.099)
    assert got["iv_percentile"].value == sum(v < 0.15 for v in before) / 251


def test_rank_needs_a_year_and_a_value_of_today():
    assert rank_and_percentile(Measured(0.2), [0.1] * 250)["iv_rank"].reason == "warmup"
    assert rank_and_percentile(Measured(0.2), [None] * 300)["iv_percentile"].reason == "warmup"
    assert rank_and_percentile(Measured(0.1), [0.1] * 251)["iv_rank"].reason == "flat"
    assert (
        rank_and_percentile(Measured(None, "no_expiry"), [0.1] * 300)["iv_rank"].reason
        == "no_expiry"
    )


def test_the_year_of_a_rank_is_not_older_than_a_month_more():
    year = [0.10 + 0.001 * (i % 100) for i in range(251)]
    assert rank_and_percentile(Measured(0.15), [*year, *[None] * 21])["iv_rank"].value is not None
    for hole in (22, 4000):
        got = rank_and_percentile(Measured(0.15), [*year, *[None] * hole])
        assert {one.reason for one in got.values()} == {"warmup"}


def test_the_history_of_a_rank_is_told_by_session(full):
    days = rank_sessions(SESSION)
    assert (len(days), days[-1]) == (272, date(2024, 6, 11))
    told = dict.fromkeys(days[-251:], 0.01)
    row = chain_features(full, session=SESSION, iv_history=told).row(0, named=True)
    assert (row["iv_rank"], row["iv_percentile"]) == (1.0, 1.0)
    old = {previous_session(day, 300): value for day, value in told.items()}
    assert chain_features(full, session=SESSION, iv_history=old)["iv_rank"].item() is None


def lacking(column: str, where: pl.Expr) -> pl.DataFrame:
    """The chain without the column's numbers where the condition holds."""
    return CHAIN.with_columns(pl.when(~where).then(column).alias(column))


PARTIAL = "partial_open_interest"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (  # the vendor gives this week's expiries only
            pl.col("expiry") > date(2024, 6, 14),
            {
                "call_open_interest": PARTIAL,
                "pcr_open_interest": PARTIAL,
                "gex_total": PARTIAL,
                "gex_near_balance": PARTIAL,
                "max_pain": "no_open_interest",
                "call_volume": None,
            },
        ),
        (
            pl.col("right") == "P",
            {
                "put_open_interest": "no_open_interest",
                "pcr_open_interest": "no_open_interest",
                "gex_near_atm": PARTIAL,
                "gex_near_balance": PARTIAL,
                "max_pain": PARTIAL,
                "call_open_interest": None,
            },
        ),
    ],
)
def test_part_of_the_open_interest_is_no_sum(where, expected):
    found = reasons(lacking("open_interest", where))
    assert {name: found.get(name) for name in expected} == expected


def test_part_of_the_volume_is_no_sum():
    found = reasons(lacking("volume", pl.int_range(pl.len()) % 99 != 0))
    names = ("call_volume", "put_volume", "pcr_volume")
    assert {found[name] for name in names} == {"partial_volume"}
    few = reasons(lacking("volume", pl.int_range(pl.len()) % 31 == 0))
    assert not {*names} & set(few)


def test_a_crossed_quote_takes_no_count_along(row):
    crossed = spoil(CHAIN, at_the_money(CHAIN), bid=30.0, ask=20.0)
    got = chain_features(analysed(cleaned(crossed).frame), session=SESSION).row(0, named=True)
    counted = [name for name in CHAIN_FEATURES if "volume" in name or "open_interest" in name]
    assert len(counted) == 11
    assert [got[name] for name in counted] == [row[name] for name in counted]


def test_counts_of_a_quote_without_a_time_are_those_of_living_contracts(row):
    timeless = cleaned(CHAIN).frame.with_columns(quoted_at=pl.lit(None, CHAIN.schema["quoted_at"]))
    got = chain_features(analysed(timeless), session=SESSION).row(0, named=True)
    assert got["call_open_interest"] == row["call_open_interest"]


def test_the_front_expiry_may_be_a_saturday():
    before = date(2012, 1, 13)
    chain = model_chain(before, spot=131.0)
    fridays, saturdays = (
        chain_features(analysed(frame), session=before).row(0, named=True)
        for frame in (chain, with_saturdays(chain))
    )
    assert nearest_expiry(before, 7) == date(2012, 1, 20)
    for name in ("max_pain", "expected_move", "atm_iv_avg"):
        assert saturdays[name] == pytest.approx(fridays[name])


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        (CHAIN.clear(), {"atm_iv_avg": "no_chain", "gex_total": "no_chain"}),
        (
            CHAIN.filter(pl.col("expiry") < date(2024, 6, 20)),
            {"atm_iv_avg": "no_expiry", "iv_skew_25d": "no_expiry"},
        ),
        (
            CHAIN.filter(pl.col("strike") > SPOT + 40),
            {
                "atm_iv_call": "no_strikes",
                "iv_skew_25d": "no_strikes",
                "expected_move": "no_strikes",
            },
        ),
        (CHAIN.with_columns(volume=pl.lit(None, pl.Int64)), {"pcr_volume": "no_volume"}),
        (
            CHAIN.with_columns(open_interest=pl.lit(0, pl.Int64)),
            {"pcr_open_interest": "no_open_interest", "gex_total": "no_open_interest"},
        ),
        (CHAIN.with_columns(ask=pl.lit(None, pl.Float64)), {"gex_near_atm": "no_gamma"}),
        (CHAIN.filter(pl.col("expiry") != nearest_expiry(SESSION, 7)), {"max_pain": "no_expiry"}),
    ],
)
def test_what_cannot_be_computed_has_its_reason(spoiled, expected):
    found = reasons(spoiled)
    assert {name: found.get(name) for name in expected} == expected
    assert set(found.values()) <= set(REASONS)


def test_without_quotes_and_spot_nothing_is_made_up():
    bare = CHAIN.with_columns(pl.lit(None, pl.Float64).alias(n) for n in ("bid", "ask", "spot"))
    got = chain_features(analysed(bare), session=SESSION).row(0, named=True)
    counted = {f"{side}_{what}" for side in ("call", "put", "pcr") for what in COUNTS}
    assert {name for name in CHAIN_FEATURES if got[name] is not None} == counted
    assert got["call_volume"] == CHAIN.filter(right="C")["volume"].sum()
    assert set(reasons(bare).values()) == {"no_spot"}


def test_adjusted_contracts_are_left_out(row):
    odd = CHAIN.head(40).with_columns(is_adjusted=True, volume=pl.lit(10_000_000, pl.Int64))
    frame = pl.concat([CHAIN.slice(40), odd])
    got = chain_features(analysed(frame), session=SESSION).row(0, named=True)
    assert got["call_volume"] < 1_000_000


def test_a_chain_of_another_day_is_refused(full):
    with pytest.raises(DataError, match="2024-06-12"):
        chain_features(full, session=date(2024, 6, 13))


def test_real_month_volatility_is_near_the_vendors(shared_data):
    told = pl.read_parquet(shared_data / "chains" / "cboe" / "underlying.parquet").filter(
        ticker="SPY"
    )
    for day in ("2026-07-22", "2026-07-29", "2026-07-31"):
        raw, session = real_chain(shared_data, day), date.fromisoformat(day)
        clean = clean_chain(
            raw, session=session, as_of=datetime(2026, 8, 1, tzinfo=UTC), symbol="SPY"
        )
        found = analyse_chain(clean.frame, rate=0.036, dividend_yield=0.0105)
        got = chain_features(found, session=session).row(0, named=True)
        vendor = told.filter(session_date=day)["iv30"].item() / 100
        assert got["atm_iv_avg"] == pytest.approx(vendor, abs=0.004)
        assert got["quality"] == "iv_rank:warmup;iv_percentile:warmup"


# The observation contract


def daily(**values: object) -> pl.DataFrame:
    names = DAILY_15_PROXY_V1.market_names
    base = dict.fromkeys(names, 0.4) | {"session": SESSION, "quality": "ok"} | values
    return pl.DataFrame([base])


def test_the_chain_contract_replaces_three_dimensions_and_keeps_the_rest():
    assert DAILY_15_CHAIN_V1.names == (
        "price", "rsi14", "macd_hist", "iv", "iv_rank", "pcr_chain", "volume_surge",
        "iv_skew_chain", "gamma_chain", "mom5", "balance", "has_position", "position_type",
        "unrealized_pnl", "holding_time",
    )  # fmt: skip
    assert get_contract("daily_15_chain_v1") is DAILY_15_CHAIN_V1
    assert "`gamma_chain`" in render_markdown(DAILY_15_CHAIN_V1)


def test_the_contracts_are_told_apart():
    assert DAILY_15_PROXY_V1.sha256 == (
        "b76cadf1416feb96d242d2791aac0374c043891d5b208304014f3d01986dd582"
    )
    assert DAILY_15_CHAIN_V1.sha256 != DAILY_15_PROXY_V1.sha256


def test_reasons_of_the_contract_are_reasons_of_the_features():
    for dimension in DAILY_15_CHAIN_V1.market:
        if dimension.name.endswith("_chain"):
            assert {reason for reason, _ in dimension.null_when} <= set(REASONS)


def test_a_session_with_a_chain_makes_an_observation(full):
    chain = chain_features(full, session=SESSION)
    row = daily_15_chain(daily(), chain).row(0, named=True)
    vector = build_observation(row, ACCOUNT, DAILY_15_CHAIN_V1)
    found = chain.row(0, named=True)
    assert row["quality"] == "ok"
    assert vector[5] == pytest.approx(found["pcr_volume"] / 3)
    assert vector[7] == pytest.approx((found["iv_skew_25d"] + 0.05) / 0.30)
    assert vector[8] == pytest.approx((found["gex_near_balance"] + 1) / 2)


def test_a_session_without_a_chain_is_held_never_given_the_proxies(full):
    chain = chain_features(full, session=SESSION).clear()
    row = daily_15_chain(daily(), chain).row(0, named=True)
    with pytest.raises(IncompleteObservation, match="pcr_chain:no_chain"):
        build_observation(row, ACCOUNT, DAILY_15_CHAIN_V1)
    assert not {"pcr", "iv_skew", "gamma_proxy"} & set(row)


def test_neither_contract_accepts_the_others_row(full):
    chain = chain_features(full, session=SESSION)
    row = daily_15_chain(daily(), chain).row(0, named=True)
    assert len(missing_reasons(row, DAILY_15_PROXY_V1)) == 3
    assert len(missing_reasons(daily().row(0, named=True), DAILY_15_CHAIN_V1)) == 3


def test_reasons_of_both_parts_are_joined(full):
    quiet = analysed(CHAIN.with_columns(volume=pl.lit(0, pl.Int64)))
    chain = chain_features(quiet, session=SESSION)
    row = daily_15_chain(daily(iv=None, quality="iv:vix_missing;pcr:warmup"), chain).row(
        0, named=True
    )
    assert row["quality"] == "iv:vix_missing;pcr_chain:no_volume"
    assert missing_reasons(row, DAILY_15_CHAIN_V1) == ["iv:vix_missing", "pcr_chain:no_volume"]


def test_a_chain_that_came_after_its_decision_is_none_and_its_earlier_version_counts():
    decided = decision_time(SESSION)
    rows = pl.DataFrame(
        {
            "session": [SESSION] * 3,
            "available_at": [decided - timedelta(hours=1), decided, decided + timedelta(seconds=1)],
            "pcr_volume": [1.0, 2.0, 3.0],
        }
    )
    assert in_time(rows)["pcr_volume"].to_list() == [2.0]
    assert in_time(rows.tail(1)).is_empty()
    assert in_time(rows.clear()).is_empty()
