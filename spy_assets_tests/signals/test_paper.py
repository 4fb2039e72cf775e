"""The paper account: rebuilt from decisions, blind to what was not known, the same however replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import ModelFileMismatch, RegistryUnavailable
from spy_assets.features.contracts import (
    DAILY_15_CHAIN_V1,
    DAILY_15_PROXY_V1,
    INTRADAY_8_V1,
    ObservationContract,
)
from spy_assets.sessions import decision_time, next_session, sessions_between
from spy_assets.signals.build import ChampionPolicy, Desk
from spy_assets.signals.champion import Champion
from spy_assets.signals.contract import Signal
from spy_assets.signals.incidents import incidents_of
from spy_assets.signals.paper import (
    Book,
    MarketHistory,
    PaperAccount,
    PaperSetup,
    PolicyOf,
    Recorded,
    World,
    decide_sessions,
    known_at,
    settle,
)
from spy_assets.signals.risk import RiskLimits, RiskSizing
from spy_assets.simulator.actions import CLOSE, HOLD
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.costs import PRESETS

N = 40
DAYS = sessions_between(date(2016, 1, 4), next_session(date(2016, 1, 4), N - 1))
TRAIN_END = date(2015, 11, 2)
LIMITS = RiskLimits(max_drawdown=1.0)
CONFIG = DailyConfig(sizing=RiskSizing(LIMITS))
SETUP = PaperSetup("SPY", "test", Desk(LIMITS, PRESETS["tradier"], config=CONFIG), 10_000.0, CONFIG)
BUY_CALL = 0


def market(seed: int = 5) -> pl.DataFrame:
    """All versions of ``features.daily_15``: one each, known at its session's decision."""
    dice = np.random.default_rng(seed)
    close = 200.0 * np.exp(np.cumsum(dice.normal(0, 0.01, N)))
    dims = {name: dice.uniform(0, 1, N) for name in DAILY_15_PROXY_V1.market_names}
    dims["gamma_proxy"] /= 2.0  # its range ends there
    return pl.DataFrame(
        {
            "session": DAYS,
            "open": np.concatenate(([200.0], close[:-1])),
            "close": close,
            "vix_open": np.full(N, 18.0),
            "vix_close": np.full(N, 18.0),
            "rate": np.full(N, 0.01),
            "quality": ["ok"] * N,
            "available_at": [decision_time(day) for day in DAYS],
        }
    ).with_columns(**{name: pl.Series(values) for name, values in dims.items()})


REGIMES = market().select("session", "available_at", regime=pl.lit("normal"))
PROMOTION = {
    "model": "ppo_daily", "alias": "champion", "version": "1", "accepted": True, "basis": "gate",
    "reason": "", "train_end": TRAIN_END, "effective_from": decision_time(TRAIN_END),
}  # fmt: skip


WEIGHTS = np.random.default_rng(3).normal(size=(15, 7))


def noise(observation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A policy that looks at the observation and wants something of everything."""
    scores = np.where(mask, np.exp(2.0 * (observation - 0.5) @ WEIGHTS), 0.0)
    return np.asarray(scores / scores.sum())


def policy_of(champion: Champion) -> ChampionPolicy:
    return ChampionPolicy(champion, noise, DAILY_15_PROXY_V1.name, DAILY_15_PROXY_V1.sha256)


def book(recorded: Mapping[date, Recorded] | None = None, *promotions: dict[str, Any]) -> Book:
    return Book(recorded or {}, promotions or (PROMOTION,), policy_of, purge_sessions=6)


def decide(
    days: list[date],
    versions: pl.DataFrame | None = None,
    known: Book | None = None,
    world: World | None = None,
) -> list[Signal]:
    rows = market() if versions is None else versions
    history = MarketHistory(rows, REGIMES)
    return decide_sessions(history, days, known or book(), SETUP, world or World())


def record(signals: list[Signal]) -> dict[date, Recorded]:
    return {one.session: Recorded.of(one) for one in signals}


def digests(signals: list[Signal]) -> list[str]:
    return [signal.decision_digest() for signal in signals]


@pytest.fixture(scope="module")
def walked() -> list[Signal]:
    return decide(DAYS)


def test_the_walk_opens_and_closes_positions(walked: list[Signal]) -> None:
    actions = {signal.action for signal in walked}
    assert CLOSE in actions
    assert len(actions) > 3
    assert [signal.session for signal in walked] == DAYS


def test_no_sessions_no_signals() -> None:
    assert decide([]) == []


def test_the_order_of_sessions_does_not_matter(walked: list[Signal]) -> None:
    assert digests(decide(DAYS[::-1])) == digests(walked)


@pytest.mark.fault(63)
def test_a_replay_over_the_record_is_the_same(walked: list[Signal]) -> None:
    assert digests(decide(DAYS, known=book(record(walked)))) == digests(walked)


@pytest.mark.parametrize("cut", [1, 7, 23, N - 1])
def test_day_by_day_is_the_same_as_at_once(walked: list[Signal], cut: int) -> None:
    recorded = record(walked[:cut])
    assert digests(decide(DAYS[cut:], known=book(recorded))) == digests(walked[cut:])


def test_one_day_alone_is_the_same(walked: list[Signal]) -> None:
    recorded: dict[date, Recorded] = {}
    for expected in walked[:12]:
        (signal,) = decide([expected.session], known=book(recorded))
        assert signal.decision_digest() == expected.decision_digest()
        recorded |= record([signal])


@pytest.mark.parametrize("cut", [1, 10, 25])
def test_the_future_changes_nothing(walked: list[Signal], cut: int) -> None:
    later = pl.col("session") > DAYS[cut - 1]
    wild = market().with_columns(
        pl.when(later).then(pl.col(name) * 1.3).otherwise(pl.col(name)).alias(name)
        for name in ("open", "close", "vix_close")
    )
    assert digests(decide(DAYS[:cut], wild)) == digests(walked[:cut])
    assert digests(decide(DAYS[:cut], market().head(cut))) == digests(walked[:cut])


def revised(day: date, known: datetime) -> pl.DataFrame:
    """The market with a second version of a session: the close was 5 % higher."""
    again = (
        market()
        .filter(session=day)
        .with_columns(
            close=pl.col("close") * 1.05, available_at=pl.lit(known).cast(pl.Datetime("us", "UTC"))
        )
    )
    return pl.concat([market(), again], how="vertical_relaxed")


@pytest.mark.fault(20)
def test_a_late_revision_leaves_what_was_decided_before(walked: list[Signal]) -> None:
    rows = revised(DAYS[10], decision_time(DAYS[20]) - timedelta(hours=1))
    signals = decide(DAYS, rows)
    assert digests(signals[:20]) == digests(walked[:20])
    assert signals[10].market.spot == walked[10].market.spot


@pytest.mark.fault(20)
def test_a_revision_in_time_is_seen(walked: list[Signal]) -> None:
    rows = revised(DAYS[10], decision_time(DAYS[10]))
    assert decide(DAYS, rows)[10].market.spot == pytest.approx(1.05 * walked[10].market.spot)  # type: ignore[operator]


def test_known_at_takes_the_last_version_in_time() -> None:
    moment = decision_time(DAYS[20])
    rows = revised(DAYS[10], moment)
    for at, factor in ((moment, 1.05), (moment - timedelta(seconds=1), 1.0)):
        row = known_at(rows, at, DAYS[10]).row(0, named=True)
        assert row["close"] == pytest.approx(factor * market()["close"][10])
    assert known_at(rows, moment, DAYS[10])["session"].to_list() == DAYS[10:21]


def test_the_recorded_decision_stands_whatever_the_model_says_now(walked: list[Signal]) -> None:
    forced = record(walked) | {day: Recorded(day, HOLD, 0) for day in DAYS[:-1]}
    (signal,) = decide([DAYS[-1]], known=book(forced))
    assert signal.state_vector[-5:] == pytest.approx((0.5, 0.0, 0.0, 0.5, 0.0))


def test_a_session_without_a_record_was_held() -> None:
    gap = {DAYS[0]: Recorded(DAYS[0], HOLD, 0)}
    assert digests(decide(DAYS[5:6], known=book(gap))) == digests(
        decide(DAYS[5:6], known=book({day: Recorded(day, HOLD, 0) for day in DAYS[:5]}))
    )


@pytest.mark.parametrize(
    ("train_end", "version"),
    [
        pytest.param(DAYS[20], "none", id="through the session itself"),
        pytest.param(DAYS[14], "none", id="within the purge"),
        pytest.param(DAYS[13], "9", id="just before the purge"),
    ],
)
def test_a_model_that_saw_the_session_may_not_speak(train_end: date, version: str) -> None:
    planted = PROMOTION | {"version": "9", "train_end": train_end}
    (signal,) = decide([DAYS[20]], known=book({}, planted))
    assert signal.model_version == version
    assert (signal.reasons[0] == "no_model_yet") == (version == "none")


def test_a_session_without_a_row_is_held_and_says_so() -> None:
    rows = market().filter(pl.col("session") != DAYS[8])
    signals = decide(DAYS[:9], rows)
    assert signals[8].action == HOLD
    assert signals[8].reasons[0].startswith("missing_input: no row")


def test_no_market_at_all_is_held() -> None:
    (signal,) = decide([DAYS[3]], market().clear())
    assert signal.action == HOLD
    assert signal.reasons[0].startswith("missing_input: ")


def test_the_world_reaches_every_signal() -> None:
    world = World(kill_switch="by hand", clock_skew_s=60.0, outage="down for 3 h")
    signals = decide(DAYS[:10], world=world)
    assert not [signal for signal in signals if signal.is_entry]
    wanted = [signal for signal in signals if signal.asked_for_entry]
    assert {signal.risk.blocked_by for signal in wanted} == {
        ("kill_switch", "clock_skew", "source_outage")
    }


def test_the_size_of_the_signal_is_filled() -> None:
    account = PaperAccount(market(), SETUP)
    account.decide(BUY_CALL, 3)
    assert [one.quantity for one in account.as_input().held] == [3]
    assert {fill.quantity for fill in account.simulator.position.entry_fills} == {3}  # type: ignore[union-attr]


def test_settling_adds_up_to_the_account(walked: list[Signal]) -> None:
    account = settle(market(), record(walked), DAYS[-1], SETUP)
    assert account is not None
    position = account.simulator.position
    total = sum(trade.pnl for trade in account.simulator.trades)
    total += position.pnl if position else 0.0
    assert account.simulator.value - SETUP.capital == pytest.approx(total)
    result = account.result("signals")
    assert result.equity[-1] == pytest.approx(account.simulator.value)
    assert len(result.equity) == len(result.sessions) + 1 == N


def test_settling_through_a_day_knows_nothing_later(walked: list[Signal]) -> None:
    account = settle(market(), record(walked[:15]), DAYS[14], SETUP)
    assert account is not None
    assert account.simulator.session == DAYS[14]


def test_nothing_recorded_is_nothing_to_settle() -> None:
    assert settle(market(), {}, DAYS[-1], SETUP) is None


def test_a_record_is_read_from_the_ledger() -> None:
    row = {"session": DAYS[0], "action": 3, "size": None, "signal_id": "a"}
    assert Recorded.from_row(row) == Recorded(DAYS[0], 3, 0, "a")
    entry = next(one for one in decide(DAYS[:10]) if one.is_entry)
    assert Recorded.from_row(entry.to_row()) == Recorded.of(entry)
    assert Recorded.of(entry).probability == entry.policy_probability


def test_the_peak_only_rises(walked: list[Signal]) -> None:
    account = PaperAccount(market(), replace(SETUP, capital=10_000.0))
    peaks = []
    for signal in walked[:20]:
        account.decide(signal.action, signal.size)
        peaks.append(account.mark.peak)
    assert peaks == sorted(peaks)
    assert peaks[-1] >= 10_000.0


def crash(recovery: float = 1.0) -> pl.DataFrame:
    """A market that loses 40 % over sessions 5 and 6, and then has its last close times ``recovery``."""
    close = [200.0] * 5 + [160.0, 120.0] + [120.0 * recovery] * (N - 7)
    return market().with_columns(
        close=pl.Series(close), open=pl.Series([200.0, *close[:-1]]), quality=pl.lit("ok")
    )


def always_bullish(observation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Buys calls whenever it may, and holds on to them."""
    chosen = BUY_CALL if mask[BUY_CALL] else HOLD
    return np.where(np.arange(7) == chosen, 1.0, 0.0)


def halted_walk(rows: pl.DataFrame, cleared: tuple[date, ...] = ()) -> list[Signal]:
    """Ten units of calls into a crash, under the ordinary limits."""
    limits = replace(LIMITS, max_drawdown=0.10, min_contracts=10)
    config = replace(CONFIG, sizing=RiskSizing(limits))
    setup = replace(
        SETUP,
        desk=replace(SETUP.desk, limits=limits, config=config),
        config=config,
        cleared=cleared,
    )
    bullish = Book(
        {}, (PROMOTION,), lambda champion: replace(policy_of(champion), probabilities=always_bullish), 6
    )  # fmt: skip
    return decide_sessions(MarketHistory(rows, REGIMES), DAYS, bullish, setup, World())


def halts(signals: list[Signal]) -> list[date]:
    return [one.session for one in signals if "drawdown_halt" in one.risk.blocked_by]


@pytest.mark.fault(64)
def test_a_drawdown_halt_is_a_latch_until_a_person_clears_it() -> None:
    signals = halted_walk(crash())
    first = halts(signals)[0]
    after = [day for day in DAYS if day >= first]
    assert len(after) > 20
    assert not [one for one in signals if one.session >= first and one.is_entry]

    cleared = after[5]
    again = halted_walk(crash(), cleared=(cleared,))
    assert digests([one for one in again if one.session < cleared]) == digests(
        [one for one in signals if one.session < cleared]
    )
    assert next(one for one in again if one.session == cleared).is_entry
    assert cleared not in halts(again)


@pytest.mark.fault(64)
def test_a_cleared_halt_closes_again_when_as_much_is_lost_again() -> None:
    again = halted_walk(crash(), cleared=(DAYS[12],))
    days = halts(again)
    assert min(days) < DAYS[12] < max(days)
    freed = [day for day in DAYS if day >= DAYS[12] and day not in days]
    assert freed == DAYS[12 : 12 + len(freed)]


def lost(champion: Champion) -> ChampionPolicy:
    raise ModelFileMismatch("the weights of version 1 are gone")


def away(champion: Champion) -> ChampionPolicy:
    raise RegistryUnavailable("MLflow does not answer")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (lost, "model_error: the weights of version 1 are gone"),
        (away, "registry_unavailable: MLflow does not answer"),
    ],
)
def test_a_champion_that_cannot_be_had_holds_and_is_an_incident(
    policy: PolicyOf, reason: str, walked: list[Signal]
) -> None:
    (signal,) = decide([DAYS[0]], known=Book({}, (PROMOTION,), policy, purge_sessions=6))
    assert (signal.action, signal.reasons[0]) == (HOLD, reason)
    assert signal.signal_id == walked[0].signal_id
    assert [one.key for one in incidents_of(signal)] == [
        f"{reason.split(':', maxsplit=1)[0]}:SPY:ppo_daily:1"
    ]


def test_other_settings_have_another_digest_and_the_same_id(walked: list[Signal]) -> None:
    dearer = replace(SETUP, desk=replace(SETUP.desk, costs=PRESETS["rltrade"]))
    (signal,) = decide_sessions(MarketHistory(market(), REGIMES), DAYS[:1], book(), dearer, World())
    assert signal.signal_id == walked[0].signal_id
    assert signal.settings_digest == dearer.digest(6)
    digests_of = {
        setup.digest(purge)
        for setup, purge in (
            (SETUP, 6), (SETUP, 7), (dearer, 6), (replace(SETUP, capital=1.0), 6),
            (replace(SETUP, desk=replace(SETUP.desk, limits=RiskLimits())), 6),
        )
    }  # fmt: skip
    assert len(digests_of) == 5
    assert replace(SETUP, cleared=(DAYS[3],)).digest(6) == SETUP.digest(6)
    assert {one.settings_digest for one in walked} == {SETUP.digest(6)}


def test_confidence_is_the_policy_s_own_until_enough_trades_have_closed(
    walked: list[Signal],
) -> None:
    entries = [one for one in walked if one.is_entry]
    assert {one.confidence_kind for one in entries} == {"masked_policy_probability"}
    assert all(one.confidence == one.policy_probability for one in entries)


def test_confidence_is_calibrated_on_the_trades_that_closed_before(
    walked: list[Signal],
) -> None:
    """From six trades on, which is in reach of forty sessions."""
    setup = replace(SETUP, calibrate_from=6)

    def decide_with(days: list[date], known: Book) -> list[Signal]:
        return decide_sessions(MarketHistory(market(), REGIMES), days, known, setup, World())

    signals = decide_with(DAYS, book())
    account = settle(market(), record(signals), DAYS[-1], SETUP)
    exits = [trade.exit_session for trade in account.simulator.trades]  # type: ignore[union-attr]
    assert len(exits) > 7
    for signal in signals:
        enough = sum(day <= signal.session for day in exits) >= 6
        entry = signal.asked_for_entry
        assert (signal.confidence_kind == "calibrated") == (enough and entry)
        if not (enough and entry):
            assert signal.confidence == signal.policy_probability
    assert [one.action for one in signals] == [one.action for one in walked]
    later = decide_with(DAYS[30:], book(record(signals[:30])))
    assert digests(later) == digests(signals[30:])


def test_withheld_rows_and_missing_minutes_hold_entries(walked: list[Signal]) -> None:
    entry = next(one for one in walked if one.is_entry)
    flags = {entry.session: ("quarantined:duplicate_key",)}
    limits = replace(LIMITS, blocking_flags=("quarantined", "minute_gaps"))
    setup = replace(SETUP, desk=replace(SETUP.desk, limits=limits))
    known = book(record([one for one in walked if one.session < entry.session]))
    history = MarketHistory(market(), REGIMES, flags=flags)
    (held,) = decide_sessions(history, [entry.session], known, setup, World())
    assert held.action == HOLD
    assert held.risk.blocked_by == ("data_quality",)
    (free,) = decide_sessions(replace(history, flags={}), [entry.session], known, setup, World())
    assert free.action == entry.action


def test_of_two_versions_at_one_moment_the_later_written_one_is_seen() -> None:
    rows = market().with_columns(ingested_at=pl.col("available_at"))
    written = rows.with_columns(pl.col("ingested_at") + timedelta(days=1), vix_close=pl.lit(30.0))
    seen = known_at(pl.concat([written, rows]), decision_time(DAYS[-1]), DAYS[0])
    assert seen["vix_close"].unique().to_list() == [30.0]


def chains(days: list[date], delay: timedelta = timedelta(0), kind: str = "chain") -> pl.DataFrame:
    """Rows of ``features.chain``; their put/call leaves the proxies' range far behind."""
    return pl.DataFrame(
        {
            "session": days,
            "pcr_volume": [2.7] * len(days),
            "iv_skew_25d": [0.04] * len(days),
            "gex_near_balance": [0.1] * len(days),
            "quote_kind": [kind] * len(days),
            "quality": ["ok"] * len(days),
            "available_at": [decision_time(day) + delay for day in days],
        }
    )


def decide_on_chains(rows: pl.DataFrame, contract: ObservationContract) -> list[Signal]:
    def trained(champion: Champion) -> ChampionPolicy:
        return ChampionPolicy(champion, noise, contract.name, contract.sha256)

    history = MarketHistory(market(), REGIMES, chains=lambda: rows)
    return decide_sessions(history, DAYS, replace(book(), policy_of=trained), SETUP, World())


def test_a_champion_sees_the_observation_that_it_was_trained_on() -> None:
    given = decide_on_chains(chains(DAYS), DAILY_15_CHAIN_V1)
    assert {signal.observation_contract for signal in given} == {"daily_15_chain_v1"}
    assert [signal.state_vector[5] for signal in given] == pytest.approx([0.9] * N)
    assert {signal.action for signal in given} > {HOLD}

    proxies = decide_on_chains(chains(DAYS), DAILY_15_PROXY_V1)
    assert digests(proxies) == digests(decide(DAYS))


@pytest.mark.parametrize(
    "rows",
    [chains([]), chains(DAYS, delay=timedelta(seconds=1)), chains(DAYS, kind="surface")],
    ids=["none", "late", "model prices"],
)
def test_without_a_real_chain_in_time_a_champion_of_chains_holds(rows: pl.DataFrame) -> None:
    for signal in decide_on_chains(rows, DAILY_15_CHAIN_V1):
        assert (signal.action, signal.probabilities) == (HOLD, {})
        assert "pcr_chain:no_chain" in signal.reasons[0]


def test_a_champion_of_an_unknown_observation_holds() -> None:
    other = replace(DAILY_15_CHAIN_V1, description="another")
    reasons = {signal.reasons[0] for signal in decide_on_chains(chains(DAYS), other)}
    assert len(reasons) == 1
    assert "contract_mismatch: model has daily_15_chain_v1" in reasons.pop()


def test_a_champion_of_the_intraday_account_holds() -> None:
    for signal in decide_on_chains(chains(DAYS), INTRADAY_8_V1):
        assert (signal.action, signal.observation_contract) == (HOLD, "daily_15_proxy_v1")
        assert "contract_mismatch: model has intraday_8_v1" in signal.reasons[0]
