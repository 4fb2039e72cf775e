"""Faults of option chains, rows 21 to 31: each put into a chain and sent through the real functions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
import pytest

from spy_assets.features.chain import chain_features
from spy_assets.features.chain_observation import daily_15_chain
from spy_assets.features.contracts import DAILY_15_CHAIN_V1, DAILY_15_PROXY_V1
from spy_assets.features.observation import missing_reasons
from spy_assets.options.chain import RawChain, as_chain, clean_chain, occ_columns
from spy_assets.options.chain_analytics import GREEKS, analyse_chain
from spy_assets.options.chain_checks import blocking, check_chain
from spy_assets.sessions import previous_session, session_close, session_open
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.options.chains import (
    EVENING,
    MARKET,
    SESSION,
    SPOT,
    at_the_money,
    cleaned,
    model_chain,
    spoil,
)

CHAIN = model_chain()
MONEY = at_the_money(CHAIN)


@pytest.fixture
def lake(settings: Settings) -> Iterator[Warehouse]:
    with Warehouse.open(settings) as warehouse:
        warehouse.ensure(TABLES["quarantine.rows"])
        yield warehouse


def row_of(frame: pl.DataFrame, occ: str) -> dict[str, object]:
    return frame.row(by_predicate=pl.col("occ") == occ, named=True)


def solved(frame: pl.DataFrame) -> dict[str, object]:
    """The analysed row at the money of a spoiled chain."""
    got = analyse_chain(cleaned(frame).frame, **MARKET).contracts
    return row_of(got, CHAIN["occ"][MONEY])


def held(chain: pl.DataFrame) -> list[str]:
    """Why a signal of `daily_15_chain_v1` is held on that chain."""
    clean = cleaned(chain).frame
    found = chain_features(analyse_chain(clean, **MARKET), session=SESSION)
    numbers = dict.fromkeys(DAILY_15_PROXY_V1.market_names, 0.4)
    daily = pl.DataFrame([{**numbers, "session": SESSION, "quality": "ok"}])
    return missing_reasons(daily_15_chain(daily, found).row(0, named=True), DAILY_15_CHAIN_V1)


def failed(chain: pl.DataFrame, **given: object) -> list[str]:
    found = check_chain(chain, root="SPY", session=SESSION, as_of=EVENING, **MARKET, **given)  # type: ignore[arg-type]
    return [finding.name for finding in blocking(found)]


@pytest.mark.fault(21)
def test_a_crossed_quote_is_quarantined_and_the_rest_published(lake: Warehouse) -> None:
    got = cleaned(spoil(CHAIN, MONEY, bid=30.0, ask=20.0))
    lake.write(
        TABLES["quarantine.rows"],
        got.quarantined.with_columns(available_at=EVENING, source=pl.lit("model")),
        ingested_at=EVENING,
    )
    assert lake.read("quarantine.rows")["reason"].to_list() == ["crossed"]
    kept = row_of(got.frame, CHAIN["occ"][MONEY])
    assert (kept["bid"], kept["ask"]) == (None, None)
    told = row_of(analyse_chain(got.frame, **MARKET).contracts, CHAIN["occ"][MONEY])
    assert told["iv"] is None
    assert got.frame.height == CHAIN.height
    assert got.frame["volume"].sum() == CHAIN["volume"].sum()


@pytest.mark.fault(22)
def test_a_contract_that_nobody_bids_for_is_listed_without_a_volatility() -> None:
    row = solved(spoil(CHAIN, MONEY, bid=0.0))
    assert (row["iv"], row["iv_status"]) == (None, "zero_bid")
    assert row["bid"] == 0.0


@pytest.mark.fault(23)
def test_stale_quotes_are_excluded_and_the_signal_is_held() -> None:
    old = CHAIN.with_columns(quoted_at=pl.col("quoted_at") - timedelta(hours=2))
    got = cleaned(old)
    assert got.frame.is_empty()
    assert set(got.quarantined["reason"]) == {"stale"}
    assert held(old) == ["pcr_chain:no_chain", "iv_skew_chain:no_chain", "gamma_chain:no_chain"]
    assert "staleness" in failed(old)


@pytest.mark.fault(23)
def test_quotes_of_a_day_before_among_fresh_ones_are_excluded_and_the_signal_is_held() -> None:
    last = session_close(previous_session(SESSION))
    near = (pl.col("strike") / SPOT - 1.0).abs() < 0.15
    old = CHAIN.with_columns(quoted_at=pl.when(near).then(pl.lit(last)).otherwise("quoted_at"))
    got = cleaned(old)
    assert set(got.quarantined["reason"]) == {"stale"}
    kept = row_of(got.frame, CHAIN["occ"][MONEY])
    assert (kept["bid"], kept["ask"], kept["quoted_at"]) == (None, None, None)
    assert "iv_skew_chain:no_strikes" in held(old)
    assert failed(old) == ["staleness"]


@pytest.mark.fault(23)
def test_fresh_quotes_are_not_held() -> None:
    assert held(CHAIN) == []


@pytest.mark.fault(23)
def test_a_quiet_quote_is_not_stale() -> None:
    quiet = (pl.col("strike") / SPOT - 1.0).abs() > 0.1
    morning = pl.when(quiet).then(pl.lit(session_open(SESSION))).otherwise("quoted_at")
    chain = CHAIN.with_columns(quoted_at=morning)
    assert cleaned(chain).quarantined.is_empty()
    assert failed(chain) == []
    assert held(chain) == []


@pytest.mark.fault(24)
def test_contracts_that_expired_are_excluded() -> None:
    yesterday = previous_session(SESSION)
    dead = model_chain(yesterday).filter(expiry=yesterday)
    left = dead.with_columns(
        session=pl.lit(SESSION), quoted_at=CHAIN["quoted_at"][0], available_at=CHAIN["quoted_at"][0]
    )
    got = cleaned(pl.concat([CHAIN, left]))
    assert got.frame.equals(cleaned(CHAIN).frame)
    assert got.quarantined["reason"].to_list() == ["expired"] * left.height


@pytest.mark.fault(25)
@pytest.mark.parametrize("left", [1, 60, 3600])
def test_greeks_on_the_last_second_are_finite(left: int) -> None:
    at = session_close(SESSION) - timedelta(seconds=left)
    cents = (pl.col("bid") * 100).floor() / 100, (pl.col("ask") * 100).ceil() / 100
    quoted = model_chain(quoted_at=at).with_columns(cents)
    chain = cleaned(quoted, as_of=at + timedelta(seconds=1)).frame
    today = analyse_chain(chain, **MARKET).contracts.filter(expiry=SESSION)
    assert today["years"][0] == pytest.approx(left / 365 / 86_400)
    assert today.height > 80
    for name in GREEKS:
        assert today[name].drop_nulls().is_finite().all()
    assert today["delta"].drop_nulls().is_between(-1.0, 1.0).all()


@pytest.mark.fault(25)
def test_after_the_close_todays_contracts_have_a_step_delta() -> None:
    today = analyse_chain(cleaned(CHAIN).frame, **MARKET).contracts.filter(expiry=SESSION)
    assert set(today.filter(pl.col("strike") != SPOT)["delta"].to_list()) <= {-1.0, 0.0, 1.0}
    assert today["gamma"].null_count() == 0
    assert set(today["iv_status"]) <= {"expired", "zero_bid"}


@pytest.mark.fault(26)
def test_a_price_below_intrinsic_has_no_volatility_but_the_reason() -> None:
    deep = CHAIN.with_row_index("row").filter(
        expiry=CHAIN["expiry"][MONEY], right="C", strike=450.0
    )
    row = int(deep["row"].item())
    low = spoil(CHAIN, row, bid=85.0, ask=85.1)
    got = analyse_chain(cleaned(low).frame, **MARKET).contracts
    assert row_of(got, CHAIN["occ"][row])["iv_status"] == "below_intrinsic"
    assert row_of(got, CHAIN["occ"][row])["iv"] is None


@pytest.mark.fault(27)
def test_a_chain_of_zeros_is_not_published() -> None:
    zeros = CHAIN.with_columns(
        *[pl.lit(0.0).alias(name) for name in ("bid", "ask", "last")], volume=pl.lit(0, pl.Int64)
    )
    assert failed(zeros) == ["all_zero"]
    assert "iv_skew_chain:no_strikes" in held(zeros)


@pytest.mark.fault(28)
def test_a_missing_expiry_fails_coverage() -> None:
    gone = CHAIN["expiry"].unique().sort()[4]
    assert failed(CHAIN.filter(pl.col("expiry") != gone)) == ["expiries"]


@pytest.mark.fault(28)
def test_missing_strikes_fail_coverage() -> None:
    before = model_chain(previous_session(SESSION))
    assert failed(CHAIN, previous=before) == []
    holes = CHAIN.filter((pl.col("strike") % 20) != 0)
    assert failed(holes, previous=before) == ["strikes"]


@pytest.mark.fault(29)
def test_an_adjusted_contract_is_kept_flagged_and_out_of_the_features() -> None:
    names = pl.DataFrame({"s": ["SPY1  240712C00540000"]}).select(occ_columns(pl.col("s")))
    copied = ("session", "symbol", "quoted_at", "source", "available_at")
    odd = as_chain(
        names, **{name: CHAIN[name][0] for name in copied}, bid=5.0, ask=5.1, volume=10**6
    )
    got = cleaned(pl.concat([CHAIN, odd]))
    assert got.quarantined.is_empty()
    assert got.frame.filter("is_adjusted")["root"].to_list() == ["SPY1"]
    with_it = chain_features(analyse_chain(got.frame, **MARKET), session=SESSION)
    without = chain_features(analyse_chain(cleaned(CHAIN).frame, **MARKET), session=SESSION)
    assert with_it.equals(without)


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    "symbol", ["SPY240231C00540000", "SPY 540 C JUN24", "", "SPY240712X00540000"]
)
def test_a_bad_symbol_is_quarantined_by_its_own_text(symbol: str) -> None:
    read = pl.DataFrame({"s": [symbol]}).select(occ_columns(pl.col("s")))
    assert read.row(0) == (None,) * 6
    rejected = pl.DataFrame({"raw": [symbol], "reason": ["bad_occ"]})
    got = clean_chain(RawChain(CHAIN, rejected), session=SESSION, as_of=EVENING, symbol="SPY")
    assert got.frame.height == CHAIN.height
    assert got.quarantined.select("reason", "severity").rows() == [("bad_occ", "error")]
    assert symbol in got.quarantined["payload"].item()


@pytest.mark.fault(30)
def test_a_symbol_of_another_contract_than_its_row_is_quarantined() -> None:
    got = cleaned(spoil(CHAIN, MONEY, strike=541.0))
    assert got.quarantined["reason"].to_list() == ["bad_occ"]


@pytest.mark.fault(31)
def test_a_parity_breach_warns_and_does_not_block() -> None:
    dear = spoil(CHAIN, MONEY, bid=CHAIN["bid"][MONEY] + 4, ask=CHAIN["ask"][MONEY] + 4)
    found = check_chain(dear, root="SPY", session=SESSION, as_of=EVENING, **MARKET)
    (finding,) = [f for f in found if f.judged and not f.passed]
    assert (finding.name, finding.severity, finding.counts["breaches"]) == ("parity", "warn", 1)
    assert finding.examples[0].startswith(f"{CHAIN['expiry'][MONEY]} 540.0")
    assert cleaned(dear).frame.height == CHAIN.height


@pytest.mark.fault(24)
def test_yesterdays_file_under_todays_name_is_not_published() -> None:
    assert "wrong_session" in failed(model_chain(date(2024, 6, 11)))
