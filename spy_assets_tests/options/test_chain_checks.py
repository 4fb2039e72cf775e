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
from spy_assets.sessions import NEW_YORK, previous_session, session_open
from spy_assets_tests.options.chains import (
    EVENING,
    MARKET,
    SESSION,
    SPOT,
    at_the_money,
    model_chain,
    only_traded,
    real_chain,
    spoil,
    with_saturdays,
)

CHAIN = model_chain()
BEFORE = previous_session(SESSION)
REAL_DAYS = (
    "2026-07-22", "2026-07-23", "2026-07-24", "2026-07-27", "2026-07-28", "2026-07-29",
    "2026-07-30", "2026-07-31",
)  # fmt: skip


def checked(chain: pl.DataFrame, session: date = SESSION, **given: object) -> dict[str, Finding]:
    market = {"as_of": EVENING, **MARKET, **given}
    found = check_chain(chain, root="SPY", session=session, **market)  # type: ignore[arg-type]
    return {finding.name: finding for finding in found}


def failed(chain: pl.DataFrame, session: date = SESSION, **given: object) -> set[str]:
    return {name for name, f in checked(chain, session, **given).items() if not f.passed}


def test_a_sound_chain_passes_all():
    before = model_chain(BEFORE, spot=537.0)
    assert failed(CHAIN, previous=before, others={BEFORE: before}) == set()
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
    assert finding.counts == {"stale": CHAIN.height, "undated": 0, "old": 0}
    assert len(finding.examples) == 5


AWAY = (pl.col("strike") / SPOT - 1.0).abs()


def quoted(rows: pl.Expr, at: datetime) -> pl.DataFrame:
    """The chain with some of its quotes last changed at a moment."""
    return CHAIN.with_columns(quoted_at=pl.when(rows).then(pl.lit(at)).otherwise("quoted_at"))


def test_quiet_quotes_of_a_fresh_snapshot_pass():
    quiet = CHAIN.filter(AWAY > 0.1).height
    finding = checked(quoted(AWAY > 0.1, session_open(SESSION)))["staleness"]
    assert quiet > 0.4 * CHAIN.height
    assert (finding.passed, finding.counts) == (True, {"stale": 0, "undated": 0, "old": quiet})


@pytest.mark.parametrize("share", [0.1, 0.11])
def test_more_than_a_tenth_of_a_day_before_blocks(share):
    before = session_open(SESSION) - timedelta(seconds=1)
    found = checked(quoted(pl.int_range(pl.len()) < share * pl.len(), before))["staleness"]
    assert found.counts["stale"] == round(share * CHAIN.height)
    # The first rows are whole expiries, so that a tenth warns.
    assert (found.passed, found.severity) == (False, "warn" if share == 0.1 else "error")


def test_the_clock_of_the_question_may_be_any():
    noon = datetime(2024, 6, 12, 12, tzinfo=NEW_YORK)
    for minutes, fresh in ((20, True), (21, False)):
        live = model_chain(quoted_at=(noon - timedelta(minutes=minutes)).astimezone(UTC))
        assert staleness(live, session=SESSION, as_of=noon).passed is fresh


def test_a_feed_that_stopped_near_the_money_is_told():
    morning = session_open(SESSION) + timedelta(hours=1)
    finding = checked(quoted(AWAY < 0.05, morning))["staleness"]
    assert (finding.passed, finding.severity) == (False, "warn")
    near = CHAIN.filter(AWAY <= 0.02).height
    assert finding.message.endswith(f"and not in {near} of {near} quotes near the money")
    assert blocking([finding]) == []
    few = checked(quoted((AWAY < 0.05) & (pl.col("right") == "C"), morning))["staleness"]
    assert few.passed


def test_an_expiry_whose_feed_stopped_is_named():
    day = CHAIN["expiry"].unique().sort()[3]
    at = session_open(SESSION) + timedelta(hours=1)
    halted = quoted(pl.col("expiry") == day, at)
    finding = checked(halted)["staleness"]
    assert (finding.passed, finding.severity) == (False, "warn")
    assert finding.examples == (f"SPY {day} {at}",)
    dead = halted.with_columns(bid=pl.when(pl.col("expiry") != day).then("bid").otherwise(0.0))
    assert staleness(dead, session=SESSION, as_of=EVENING, spot=SPOT).passed


def test_an_expiry_that_settled_at_the_open_has_not_stopped():
    at = session_open(SESSION) + timedelta(minutes=1)
    settled = quoted(pl.col("expiry") == SESSION, at)
    assert not staleness(settled, session=SESSION, as_of=EVENING).passed
    morning = settled.with_columns(settlement=pl.lit("AM"))
    assert staleness(morning, session=SESSION, as_of=EVENING).passed


def partly_dated(share: float, **changes: object) -> pl.DataFrame:
    """The chain with the times of its first quotes only, moved if that is asked for."""
    dated = pl.int_range(pl.len()) < share * pl.len()
    moved = pl.col("quoted_at") - timedelta(**changes)  # type: ignore[arg-type]
    return CHAIN.with_columns(quoted_at=pl.when(dated).then(moved))


def test_quotes_without_a_time_are_no_fresh_ones():
    fresh = staleness(partly_dated(0.6), session=SESSION, as_of=EVENING)
    assert (fresh.passed, fresh.counts["undated"]) == (True, 0.4 * CHAIN.height)
    old = staleness(partly_dated(0.2, hours=2), session=SESSION, as_of=EVENING)
    assert (old.passed, old.severity, old.judged) == (False, "error", True)


def test_a_spoiled_chain_is_blocked_and_one_that_cannot_be_judged_is_not():
    bare = only_traded(CHAIN).with_columns(last_at=pl.lit(None, CHAIN.schema["last_at"]))
    found = checked(bare, rate=None)
    unjudged = {name for name, finding in found.items() if not finding.judged}
    assert unjudged == {
        "duplicate", "strikes", "crossed", "zero_bid", "spot_range", "staleness", "parity",
        "spot_agreement",
    }  # fmt: skip
    for name in unjudged:
        assert (found[name].passed, found[name].severity) == (False, "warn")
        assert found[name].message.startswith("not judged: ")
    assert blocking(list(found.values())) == []


def test_what_there_is_nothing_of_is_not_judged():
    undated = CHAIN.with_columns(
        pl.lit(None, CHAIN.schema[name]).alias(name) for name in ("quoted_at", "last_at")
    )
    later = CHAIN.filter(pl.col("expiry") > date(2024, 8, 1))
    early = date(2015, 6, 10)  # a Wednesday on which nothing expires
    quiet = CHAIN.with_columns(volume=pl.lit(None, pl.Int64))
    found = [
        staleness(undated, session=SESSION, as_of=EVENING),
        wrong_session(undated, root="SPY", session=early),
        parity(CHAIN.filter(right="C"), **MARKET),
        spot_agreement(later, spot=SPOT, **MARKET),
        duplicate(quiet, {BEFORE: model_chain(BEFORE)}, session=SESSION),
        spot_range(CHAIN, None),
    ]
    assert [(one.judged, one.passed, one.severity) for one in found] == [
        (False, False, "warn")
    ] * len(found)


def test_strikes_say_that_there_is_no_chain_before():
    assert strikes(CHAIN, session=SESSION).message.endswith("there is no chain before")


def test_expiries_that_did_not_trade_are_no_gap_of_a_list_of_trades():
    traded = only_traded(CHAIN).filter(pl.col("expiry") < date(2025, 12, 1))
    finding = expiries(traded, root="SPY", session=SESSION)
    assert not finding.judged
    assert "nothing was traded of" in finding.message
    assert wrong_session(
        traded.filter(pl.col("expiry") > SESSION), root="SPY", session=SESSION
    ).passed


def test_the_saturdays_of_old_symbols_are_listed_and_no_other_day():
    friday = date(2012, 1, 20)
    evening = datetime(2012, 1, 20, 22, tzinfo=UTC)
    old = with_saturdays(model_chain(friday, spot=131.0))
    found = checked(old, friday, as_of=evening)
    assert date(2012, 1, 21) in old["expiry"]
    assert found["wrong_session"].passed
    assert found["expiries"].counts == {"present": 12, "missing": 0, "unlisted": 0, "closed": 0}
    monday = wrong_session(old, root="SPY", session=date(2012, 1, 23))
    assert "contracts expired before, the first on 2012-01-20" in monday.message


def test_an_expiry_on_a_holiday_is_named_and_stops_no_check():
    odd = spoil(CHAIN, 0, expiry=date(2024, 12, 25))
    found = checked(odd)
    assert found["expiries"].examples == ("closed 2024-12-25",)
    assert found["parity"].passed


def test_a_crossed_quote_is_told():
    finding = crossed(spoil(CHAIN, 9, bid=400.0, ask=390.0))
    assert (finding.passed, finding.severity, finding.counts["crossed"]) == (False, "warn", 1)
    assert finding.examples[0].startswith(CHAIN["occ"][9])


def test_a_share_of_zero_bids_is_normal_and_a_majority_is_not():
    assert zero_bid(CHAIN).passed
    assert not zero_bid(CHAIN.with_columns(bid=pl.lit(0.0))).passed


@pytest.mark.parametrize("spot", [5.4, 54_000.0])
def test_a_spot_outside_the_strikes_fails(spot):
    assert not spot_range(CHAIN, spot).passed
    assert spot_range(CHAIN, SPOT).passed


def test_a_pair_off_parity_is_named():
    row = at_the_money(CHAIN)
    dear = spoil(CHAIN, row, bid=CHAIN["bid"][row] + 5.0, ask=CHAIN["ask"][row] + 5.0)
    finding = parity(dear, **MARKET)
    assert (finding.passed, finding.severity, finding.counts["breaches"]) == (False, "warn", 1)
    assert finding.examples[0].startswith(f"{CHAIN['expiry'][row]} 540.0")


def test_a_spot_of_another_time_is_told():
    told = spot_agreement(CHAIN, spot=SPOT * 1.01, **MARKET)
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
        check_chain(CHAIN, root="QQQ", session=SESSION, as_of=EVENING, **MARKET)


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


def test_the_trades_of_real_days_are_not_blocked(shared_data):
    previous = None
    for day in (date.fromisoformat(name) for name in REAL_DAYS if name != "2026-07-23"):
        chain = real_chain(shared_data, str(day)).frame.filter(pl.col("volume") > 0)
        traded = only_traded(chain, share=1)
        found = checked(
            traded, day, as_of=datetime(2026, 8, 1, tzinfo=UTC), previous=previous, spot=740.0
        )
        assert blocking(list(found.values())) == []
        assert not found["strikes"].judged
        assert found["expiries"].passed
        previous = traded
