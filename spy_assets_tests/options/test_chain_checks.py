"""Checks of whole chains: spoiled ones fail for the right reason, real ones tell which day they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from spy_assets.errors import DataError
from spy_assets.options.chain_checks import (
    Finding,
    all_zero,
    blocking,
    check_chain,
    crossed,
    duplicate,
    expiries,
    fingerprint,
    parity,
    same_share,
    spot_agreement,
    spot_range,
    staleness,
    strikes,
    traded_day,
    wrong_session,
    zero_bid,
)
from spy_assets.sessions import previous_session
from spy_assets_tests.options.chains import (
    EVENING,
    RATE,
    SESSION,
    SPOT,
    YIELD,
    at_the_money,
    model_chain,
    real_chain,
    spoil,
)

CHAIN = model_chain()
BEFORE = previous_session(SESSION)
REAL_DAYS = (
    "2026-07-22", "2026-07-23", "2026-07-24", "2026-07-27", "2026-07-28", "2026-07-29",
    "2026-07-30", "2026-07-31",
)  # fmt: skip


def checked(chain: pl.DataFrame, session: date = SESSION, **given: object) -> dict[str, Finding]:
    market = {"as_of": EVENING, "rate": RATE, "dividend_yield": YIELD, **given}
    found = check_chain(chain, root="SPY", session=session, **market)  # type: ignore[arg-type]
    return {finding.name: finding for finding in found}


def failed(chain: pl.DataFrame, session: date = SESSION, **given: object) -> set[str]:
    return {name for name, f in checked(chain, session, **given).items() if not f.passed}


def test_a_sound_chain_passes_all():
    assert failed(CHAIN, previous=model_chain(BEFORE)) == set()
    assert len(checked(CHAIN)) == 11


def test_a_chain_of_zeros_fails():
    zeros = CHAIN.with_columns(pl.lit(0.0).alias(name) for name in ("bid", "ask", "last"))
    assert not all_zero(zeros).passed
    assert not all_zero(CHAIN.clear()).passed
    assert "all_zero" in {finding.name for finding in blocking(list(checked(zeros).values()))}


def test_a_bar_chain_without_quotes_is_not_empty():
    bars = CHAIN.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("bid", "ask"))
    assert all_zero(bars).passed


def test_an_absent_expiry_is_named():
    gone = CHAIN["expiry"].unique().sort()[3]
    finding = expiries(CHAIN.filter(pl.col("expiry") != gone), root="SPY", session=SESSION)
    assert (finding.passed, finding.examples) == (False, (f"missing {gone}",))


def test_an_unknown_expiry_is_named_but_no_failure():
    odd = spoil(CHAIN, 0, expiry=date(2025, 2, 11))
    finding = expiries(odd, root="SPY", session=SESSION)
    assert finding.passed
    assert finding.examples == ("unlisted 2025-02-11",)


def test_contracts_that_were_there_yesterday_are_missed():
    finding = strikes(
        CHAIN.filter(pl.col("strike") < SPOT), session=SESSION, previous=model_chain(BEFORE)
    )
    assert not finding.passed
    assert finding.counts["gone"] > 900


def test_contracts_that_expired_since_yesterday_are_not_missed():
    assert strikes(CHAIN, session=SESSION, previous=model_chain(BEFORE)).counts["gone"] == 0


def test_calls_without_puts_fail():
    finding = strikes(
        CHAIN.filter((pl.col("right") == "C") | (pl.col("strike") < SPOT)), session=SESSION
    )
    assert not finding.passed


def test_old_quotes_fail_and_are_shown():
    old = CHAIN.with_columns(quoted_at=pl.col("quoted_at") - timedelta(hours=2))
    finding = staleness(old, session=SESSION, as_of=EVENING)
    assert not finding.passed
    assert finding.counts == {"stale": CHAIN.height, "undated": 0}
    assert len(finding.examples) == 5


def test_quotes_without_a_time_are_counted():
    undated = CHAIN.with_columns(quoted_at=pl.lit(None, CHAIN.schema["quoted_at"]))
    finding = staleness(undated, session=SESSION, as_of=EVENING)
    assert (finding.passed, finding.counts["undated"]) == (True, CHAIN.height)


def test_a_crossed_quote_is_told():
    finding = crossed(spoil(CHAIN, 9, bid=400.0, ask=390.0))
    assert (finding.passed, finding.severity, finding.counts["crossed"]) == (False, "warn", 1)
    assert finding.examples[0].startswith(CHAIN["occ"][9])


def test_a_share_of_zero_bids_is_normal_and_a_majority_is_not():
    assert zero_bid(CHAIN).passed
    assert not zero_bid(CHAIN.with_columns(bid=pl.lit(0.0))).passed


@pytest.mark.parametrize("spot", [None, 5.4, 54_000.0])
def test_a_spot_outside_the_strikes_fails(spot):
    assert not spot_range(CHAIN, spot).passed
    assert spot_range(CHAIN, SPOT).passed


def test_a_pair_off_parity_is_named():
    row = at_the_money(CHAIN)
    dear = spoil(CHAIN, row, bid=CHAIN["bid"][row] + 5.0, ask=CHAIN["ask"][row] + 5.0)
    finding = parity(dear, rate=RATE, dividend_yield=YIELD)
    assert (finding.passed, finding.severity, finding.counts["breaches"]) == (False, "warn", 1)
    assert finding.examples[0].startswith(f"{CHAIN['expiry'][row]} 540.0")


def test_a_spot_of_another_time_is_told():
    told = spot_agreement(CHAIN, spot=SPOT * 1.01, rate=RATE, dividend_yield=YIELD)
    assert not told.passed
    assert told.counts["implied"] == pytest.approx(SPOT, abs=0.05)


def test_a_copy_of_another_session_fails_and_its_original_passes():
    others = {SESSION: CHAIN}
    copy = CHAIN.with_columns(session=pl.lit(date(2024, 6, 13)))
    finding = duplicate(copy, others, session=date(2024, 6, 13))
    assert (finding.passed, finding.counts["exact"]) == (False, 1)
    assert duplicate(CHAIN, {date(2024, 6, 13): copy}, session=SESSION).passed
    assert duplicate(CHAIN, {BEFORE: model_chain(BEFORE, spot=537.0)}, session=SESSION).passed


def test_the_fingerprint_is_of_the_quotes_only():
    dressed = CHAIN.reverse().with_columns(session=pl.lit(BEFORE), source=pl.lit("other"))
    assert fingerprint(dressed) == fingerprint(CHAIN)
    assert fingerprint(spoil(CHAIN, at_the_money(CHAIN), bid=0.0)) != fingerprint(CHAIN)


def test_a_chain_without_trades_shares_nothing():
    quiet = CHAIN.with_columns(volume=pl.lit(0))
    assert same_share(quiet, CHAIN) == 0.0
    assert traded_day(quiet) is None


def test_the_chain_of_the_day_before_is_unmasked_by_each_of_its_marks():
    yesterday = model_chain(BEFORE)
    finding = wrong_session(yesterday, root="SPY", session=SESSION)
    assert finding.counts["contradictions"] == 3
    assert finding.examples == (f"belongs to {BEFORE}",)
    relabelled = yesterday.with_columns(
        quoted_at=pl.lit(EVENING), last_at=pl.lit(EVENING), session=pl.lit(SESSION)
    )
    assert "expired before" in wrong_session(relabelled, root="SPY", session=SESSION).message


def test_a_chain_of_tomorrow_lacks_todays_expiry():
    finding = wrong_session(CHAIN.filter(pl.col("expiry") > SESSION), root="SPY", session=SESSION)
    assert "no contract expires on 2024-06-12" in finding.message


def test_a_weekend_has_no_chain():
    assert not wrong_session(CHAIN, root="SPY", session=date(2024, 6, 15)).passed


@pytest.mark.parametrize(
    "at", [datetime(2024, 6, 13, 3, tzinfo=UTC), datetime(2024, 6, 13, 12, tzinfo=UTC)]
)
def test_a_snapshot_of_the_night_belongs_to_the_evening_before(at):
    assert wrong_session(
        CHAIN.with_columns(quoted_at=pl.lit(at)), root="SPY", session=SESSION
    ).passed


def test_another_root_is_refused():
    with pytest.raises(DataError, match="not 'QQQ'"):
        check_chain(
            CHAIN, root="QQQ", session=SESSION, as_of=EVENING, rate=RATE, dividend_yield=YIELD
        )


def test_only_one_of_the_real_files_is_not_the_day_that_it_says(shared_data):
    chains = {date.fromisoformat(day): real_chain(shared_data, day).frame for day in REAL_DAYS}
    wrong: dict[date, set[str]] = {}
    for day, chain in chains.items():
        others = {other: frame for other, frame in chains.items() if other != day}
        found = failed(
            chain, day, as_of=datetime(2026, 8, 1, tzinfo=UTC), others=others, rate=0.036
        )
        if found:
            wrong[day] = found
    assert wrong == {date(2026, 7, 23): {"wrong_session", "duplicate", "staleness"}}
    finding = wrong_session(chains[date(2026, 7, 23)], root="SPY", session=date(2026, 7, 23))
    assert finding.examples == ("belongs to 2026-07-22",)
