from __future__ import annotations

from datetime import date, timedelta

import pytest

from spy_assets.sessions import decision_time
from spy_assets.signals.contract import Signal
from spy_assets.signals.rendering import render_statistics
from spy_assets.signals.statistics import (
    brier_score,
    expected_calibration_error,
    recent_and_all,
    signal_statistics,
)
from spy_assets_tests.signals import scenes


def on(day: date, action: int = 3, **parts: object) -> Signal:
    """The signal of another day."""
    market = scenes.market(session=day, as_of=decision_time(day))
    world = scenes.conditions(session=day, newest_session=day, **parts)
    return scenes.signal(action, market=market, conditions=world)


SIGNALS = [
    on(date(2018, 11, 1)),
    on(date(2018, 12, 18)),
    on(date(2018, 12, 19), 5),
    on(date(2018, 12, 20), outage="down"),
]
OUTCOMES = [
    {"signal_id": SIGNALS[0].signal_id, "pnl": 80.0, "quote_kind": "surface"},
    {"signal_id": SIGNALS[1].signal_id, "pnl": -30.0, "quote_kind": "surface"},
    {"signal_id": "unknown", "pnl": 1e6},
]


def test_counts_and_money() -> None:
    found = signal_statistics(SIGNALS, OUTCOMES)
    assert (found.total, found.executed) == (4, 2)
    (results,) = found.results
    assert (results.quotes, results.settled, results.profitable) == ("surface", 2, 1)
    assert (results.total_pnl, results.average_pnl) == (50.0, 25.0)
    assert found.by_action == {"BEAR_SPREAD": 2, "HOLD": 2}
    assert found.hold_reasons == {"policy": 1, "source_outage": 1}
    assert found.average_confidence == pytest.approx(0.704)


def test_real_fills_are_never_pooled_with_a_models() -> None:
    """One winner at real quotes and one loser at a model's are not a hit rate of a half."""
    kinds = ("chain", "spread_model")
    rows = [row | {"quote_kind": kind} for row, kind in zip(OUTCOMES, kinds, strict=False)]
    real, modelled = signal_statistics(SIGNALS, rows).results
    assert (real.quotes, real.total_pnl, real.hit_rate.estimate) == ("chain", 80.0, 1.0)
    assert (modelled.quotes, modelled.total_pnl, modelled.profitable) == ("spread_model", -30.0, 0)
    assert real.brier == pytest.approx((1 - 0.704) ** 2)
    text = render_statistics(signal_statistics(SIGNALS, rows))
    assert text.index("chain quotes") < text.index("$80.00") < text.index("spread_model quotes")
    unknown = [{"signal_id": SIGNALS[0].signal_id, "pnl": 1.0, "quote_kind": None}]
    assert signal_statistics(SIGNALS, unknown).results[0].quotes == "not recorded"


def test_the_hit_rate_has_an_interval() -> None:
    (results,) = signal_statistics(SIGNALS, OUTCOMES).results
    hit = results.hit_rate
    assert (hit.estimate, round(hit.low, 3), round(hit.high, 3)) == (0.5, 0.095, 0.905)


def test_open_positions_are_executed_and_not_settled() -> None:
    found = signal_statistics(SIGNALS, [], executed_ids=[SIGNALS[1].signal_id, "unknown"])
    assert (found.executed, found.results) == (1, ())


def test_pass_rates_count_entries_that_were_asked_for() -> None:
    rates = {rate.rule: rate for rate in signal_statistics(SIGNALS, []).pass_rates}
    assert (rates["source_outage"].passed, rates["source_outage"].asked) == (2, 3)
    assert rates["sizing"].rate == 1.0


def test_a_rule_that_nobody_asked_has_no_rate() -> None:
    assert signal_statistics([], []).pass_rates[0].rate is None


def test_the_recent_window_is_thirty_days() -> None:
    recent, everything = recent_and_all(SIGNALS, OUTCOMES, as_of=decision_time(date(2018, 12, 20)))
    assert (recent.total, everything.total) == (3, 4)
    assert [results.total_pnl for results in recent.results] == [-30.0]
    edge = SIGNALS[1].as_of + timedelta(days=30)
    assert recent_and_all(SIGNALS, [], as_of=edge)[0].total == 2


def test_nothing_after_the_moment_is_counted() -> None:
    _, everything = recent_and_all(SIGNALS, [], as_of=decision_time(date(2018, 12, 18)))
    assert everything.total == 2


def test_brier_and_calibration_of_known_pairs() -> None:
    pairs = [(0.8, True), (0.8, True), (0.8, False), (0.2, False)]
    assert brier_score(pairs) == pytest.approx((0.04 + 0.04 + 0.64 + 0.04) / 4)
    assert expected_calibration_error(pairs) == pytest.approx((abs(2.4 - 2) + 0.2) / 4)
    assert brier_score([]) is expected_calibration_error([]) is None


def test_statistics_read_as_text() -> None:
    text = render_statistics(signal_statistics(SIGNALS, OUTCOMES, window="all time"))
    assert "hit rate             : 50.0% (9.5% to 90.5% at 95%)" in text
    assert "P&L total / average  : $50.00 / $25.00" in text
    assert "source_outage 2/3" in text


def test_empty_statistics_read_as_text() -> None:
    text = render_statistics(signal_statistics([], []))
    assert "settled              : none" in text
    assert "by action            : none" in text


def test_abstentions_are_counted_among_the_votes_on_an_entry() -> None:
    given = [one.model_copy(update={"abstained": said})
             for one, said in zip(SIGNALS, (True, False, None, True), strict=True)]  # fmt: skip
    found = signal_statistics(given, [])
    assert (found.votes, found.abstentions) == (3, 2)
    assert found.abstain_rate == pytest.approx(2 / 3)
    assert "votes / abstained    : 3 / 2 (66.7%)" in render_statistics(found)
    without = signal_statistics(SIGNALS, [])
    assert without.abstain_rate is None
    assert "abstained" not in render_statistics(without)
