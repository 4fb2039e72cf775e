"""Several positions at once and wider action maps: signals, the paper account and its ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.options.spread_model import SPY_SPREADS
from spy_assets.sessions import decision_time
from spy_assets.signals.build import ChampionPolicy, Desk
from spy_assets.signals.champion import Champion
from spy_assets.signals.contract import Signal
from spy_assets.signals.incidents import incidents_of
from spy_assets.signals.outcomes import settle_outcomes
from spy_assets.signals.paper import (
    Book,
    MarketHistory,
    PaperAccount,
    PaperSetup,
    World,
    decide_sessions,
    settle,
)
from spy_assets.signals.recorded import Numbers, Recorded
from spy_assets.signals.rendering import render_markdown, render_plain
from spy_assets.signals.risk import (
    RULES,
    AccountState,
    Conditions,
    Proposal,
    RiskLimits,
    RiskSizing,
    assess,
)
from spy_assets.signals.setup import Moment, Pricing, entry_setup
from spy_assets.simulator.actions import (
    ACTION_MAPS,
    ALL_STRUCTURES,
    ALL_STRUCTURES_BY_DTE,
    DAILY_7,
    DEFINED_RISK,
    ActionMap,
    Opening,
)
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.kernel import check_invariant
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.signals import scenes
from spy_assets_tests.signals.test_paper import DAYS, PROMOTION, REGIMES, market

MOST = 3
LIMITS = RiskLimits(max_drawdown=1.0, max_positions=MOST)
WIDE = DailyConfig(sizing=RiskSizing(LIMITS), actions=DEFINED_RISK, max_positions=MOST)
CONTRACT = scenes.DESK.contract


def setup_of(config: DailyConfig) -> PaperSetup:
    limits = replace(LIMITS, max_positions=config.max_positions)
    desk = Desk(limits, PRESETS["tradier"], config=config)
    return PaperSetup("SPY", "test", desk, 20_000.0, config)


WEIGHTS = np.random.default_rng(5).normal(size=(15, len(DEFINED_RISK)))


def noise(observation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A policy that wants something of everything, and seldom to hold or close."""
    scores = np.exp(3.0 * (observation - 0.5) @ WEIGHTS)
    scores[-2:] *= (0.3, 1.0)
    scores = np.where(mask, scores, 0.0)
    return np.asarray(scores / scores.sum())


def decide(
    days: list[date], recorded: Mapping[date, Recorded] | None = None, config: DailyConfig = WIDE
) -> list[Signal]:
    def policy_of(champion: Champion) -> ChampionPolicy:
        return ChampionPolicy(champion, noise, CONTRACT.name, CONTRACT.sha256, WIDE.mandate)

    book = Book(recorded or {}, (PROMOTION,), policy_of, purge_sessions=6)
    return decide_sessions(MarketHistory(market(), REGIMES), days, book, setup_of(config), World())


def record(signals: list[Signal]) -> dict[date, Recorded]:
    return {one.session: Recorded.of(one) for one in signals}


@pytest.fixture(scope="module")
def walked() -> list[Signal]:
    return decide(DAYS)


def held_before(signal: Signal) -> int:
    (told,) = [text for text in signal.reasons if text.startswith("positions: ")]
    return int(told.split()[1])


def test_several_positions_are_open_at_once_and_never_more(walked: list[Signal]) -> None:
    counts = Counter(held_before(signal) for signal in walked)
    assert max(counts) == MOST
    assert counts[2] > 0
    full = [signal for signal in walked if held_before(signal) == MOST]
    assert not [signal for signal in full if signal.is_entry]  # the mask leaves HOLD and CLOSE
    assert {signal.mandate for signal in walked} == {"defined_risk/3"}


def test_wide_maps_name_their_structures(walked: list[Signal]) -> None:
    entries = [signal for signal in walked if signal.is_entry]
    names = {signal.structure for signal in entries}
    assert names - {one.structure for one in DAILY_7.openings}
    for signal in entries:
        assert signal.action_name == signal.structure.upper()
        assert set(signal.probabilities) == set(DEFINED_RISK.names)


def test_close_closes_every_position(walked: list[Signal]) -> None:
    at = next(
        k for k, one in enumerate(walked) if one.action_name == "CLOSE" and held_before(one) > 1
    )
    signal = walked[at]
    before = settle(market(), record(walked[:at]), signal.session, setup_of(WIDE))
    assert before is not None
    open_legs = [
        (leg.contract.occ, "sell" if leg.side > 0 else "buy", leg.ratio * one.quantity)
        for one in before.simulator.positions
        for leg in one.legs
    ]
    assert [(leg.occ, leg.side, leg.ratio) for leg in signal.legs] == open_legs
    assert signal.size == 1
    after = settle(market(), record(walked[: at + 1]), DAYS[at + 1], setup_of(WIDE))
    assert after is not None
    closed = {one.decision_session for one in before.simulator.positions}
    assert not closed & {one.decision_session for one in after.simulator.positions}


def test_a_close_of_several_reads_as_one(walked: list[Signal]) -> None:
    signal = next(one for one in walked if one.action_name == "CLOSE" and held_before(one) > 1)
    text, count = render_plain(signal), held_before(signal)
    contracts = sum(leg.ratio for leg in signal.legs)
    assert f"all {count} positions, {contracts} contracts" in text
    assert signal.display_symbol.count(" + ") == count - 1
    assert render_markdown(signal).count("| `SPY") == len(signal.legs)


def test_every_trade_is_its_signals_and_all_of_it_adds_up(walked: list[Signal]) -> None:
    account = settle(market(), record(walked), DAYS[-1], setup_of(WIDE))
    assert account is not None
    simulator = account.simulator
    check_invariant(simulator.account)
    settled = settle_outcomes(
        walked,
        simulator.trades,
        decision_time(DAYS[-1]),
        source="test",
        open_sessions=[one.decision_session for one in simulator.positions],
    )
    open_pnl = sum(one.pnl for one in simulator.positions)
    total = sum(row["pnl"] for row in settled.rows) + open_pnl
    assert total == pytest.approx(simulator.value - 20_000.0)
    waiting = int(walked[-1].is_entry)
    assert len(settled.pending) == len(simulator.positions) + waiting
    assert len(settled.rows) == len(simulator.trades)


@pytest.mark.parametrize("cut", [1, 7, 23])
def test_day_by_day_is_the_same_as_at_once(walked: list[Signal], cut: int) -> None:
    later = decide(DAYS[cut:], record(walked[:cut]))
    assert [one.decision_digest() for one in later] == [
        one.decision_digest() for one in walked[cut:]
    ]


# ---------------------------------------------------------------- mandates


@pytest.mark.parametrize(
    "config",
    [replace(WIDE, max_positions=2), replace(WIDE, actions=DAILY_7), DailyConfig()],
    ids=["positions", "actions", "both"],
)
def test_a_model_of_another_mandate_holds_with_the_reason(config: DailyConfig) -> None:
    (signal,) = decide(DAYS[:1], config=config)
    own = config.mandate
    reason = f"mandate_mismatch: model was trained for defined_risk/3, account is {own}"
    assert (signal.action_name, signal.reasons[0]) == ("HOLD", reason)
    assert incidents_of(signal)[0].key == "mandate_mismatch:SPY:ppo_daily:1"


def test_a_map_of_the_same_name_and_other_numbers_is_another_mandate() -> None:
    turned = ActionMap("defined_risk", 1, DEFINED_RISK.openings[::-1])
    assert Mandate.of(turned, MOST) != WIDE.mandate
    (signal,) = decide(DAYS[:1], config=replace(WIDE, actions=turned))
    told = f"(map {DEFINED_RISK.sha256[:12]}), account is defined_risk/3 (map {turned.sha256[:12]})"
    assert signal.reasons[0].startswith("mandate_mismatch: ")
    assert signal.reasons[0].endswith(told)


def test_what_has_no_record_is_of_the_daily_mandate() -> None:
    assert Mandate.recorded({}) == DailyConfig().mandate == DAILY_MANDATE
    assert Mandate.recorded({"actions": None, "max_positions": None}) == DAILY_MANDATE
    told = {name: str(value) for name, value in WIDE.mandate.record().items()}
    assert Mandate.recorded(told) == WIDE.mandate


def test_decisions_of_an_earlier_mandate_are_followed_as_they_were_made(
    walked: list[Signal],
) -> None:
    """The settings went back to one position and seven actions; the ledger's past did not."""
    recorded = record(walked)
    wide = settle(market(), recorded, DAYS[-1], setup_of(WIDE))
    narrow = settle(market(), recorded, DAYS[-1], setup_of(replace(WIDE, max_positions=1)))
    daily = settle(
        market(), recorded, DAYS[-1], setup_of(replace(WIDE, actions=DAILY_7, max_positions=1))
    )
    assert wide is not None
    assert narrow is not None
    assert daily is not None
    assert wide.simulator.trades == narrow.simulator.trades == daily.simulator.trades
    assert daily.as_input().mask.shape == (len(DAILY_7),)
    assert daily.simulator.positions
    assert not daily.as_input().mask[: DAILY_7.hold].any()  # one is open, and one is the limit


def test_daily_decisions_open_the_same_in_a_wider_account() -> None:
    numbers = Numbers(WIDE, [None])
    assert numbers.actions is DEFINED_RISK  # it has all of the daily map's structures
    for action, opening in enumerate(DAILY_7.openings):
        number = numbers.number(Recorded(DAYS[0], action, 1))
        assert DEFINED_RISK.openings[number].structure == opening.structure
    others = [numbers.number(Recorded(DAYS[0], n, 0)) for n in (DAILY_7.hold, DAILY_7.close)]
    assert others == [DEFINED_RISK.hold, DEFINED_RISK.close]


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> ActionMap:
    """The map after a structure was added to the registry, in front of the others."""
    more = ActionMap("defined_risk", 1, (Opening("short_put"), *DEFINED_RISK.openings))
    monkeypatch.setitem(ACTION_MAPS, "defined_risk", more)
    return more


def test_recorded_decisions_keep_their_meaning_when_a_structure_is_added(
    walked: list[Signal], grown: ActionMap
) -> None:
    numbers = Numbers(DailyConfig(), [one.mandate for one in walked])
    for signal in walked:
        name = numbers.actions.names[numbers.number(Recorded.of(signal))]
        same_structure = {"LONG_CALL": "BUY_CALL", "LONG_PUT": "BUY_PUT"}
        assert name in {signal.action_name, same_structure.get(signal.action_name), *DAILY_7.names}
        assert (name in ("HOLD", "CLOSE")) == (not signal.is_entry)
    own = Numbers(replace(WIDE, actions=grown, allow_naked=True), [])
    told = [grown.names[own.number(Recorded.of(one))] for one in walked]
    assert told == [one.action_name for one in walked]


def test_a_number_without_a_name_is_read_of_the_daily_map_only() -> None:
    assert Numbers(WIDE, [None]).number(Recorded(DAYS[0], DAILY_7.close, 0)) == DEFINED_RISK.close
    with pytest.raises(ConfigError, match="number 3 of 'defined_risk' and has no name"):
        Numbers(WIDE, []).number(Recorded(DAYS[0], 3, 1, mandate="defined_risk/3"))


def test_a_name_that_the_map_has_no_more_is_refused() -> None:
    gone = Recorded(DAYS[0], 3, 1, mandate="defined_risk/3", action_name="RATIO_SPREAD")
    with pytest.raises(ConfigError, match="is RATIO_SPREAD, which action map 'defined_risk'"):
        Numbers(WIDE, []).number(gone)


def test_a_decision_of_an_unknown_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="seven"):
        PaperAccount(market(), setup_of(WIDE), ["seven/1"])


# ---------------------------------------------------------------- risk

money = st.floats(-1e6, 1e6)
states = st.builds(AccountState, money, money, money, st.integers(0, 30), st.floats(0, 1))
limits = st.builds(
    RiskLimits,
    max_positions=st.integers(1, 20),
    max_drawdown=st.floats(0, 1),
    min_confidence=st.floats(0, 1),
    max_contracts=st.integers(1, 100),
)
halted = Conditions(DAYS[0], None, date(2000, 1, 3), "latch", 99.0, "down", ("quarantined:x",))


@given(states, limits, st.sampled_from([halted, Conditions(DAYS[0], DAYS[0])]))
@settings(deadline=None, max_examples=60)
def test_close_is_never_blocked_however_many_positions(
    state: AccountState, limit: RiskLimits, conditions: Conditions
) -> None:
    verdict = assess(Proposal("CLOSE"), state, conditions, limit)
    assert verdict.allowed
    assert verdict.blocked_by == ()
    assert [rule.rule for rule in verdict.rules] == list(RULES)


@given(st.integers(0, 30), st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_an_entry_needs_room(open_positions: int, most: int) -> None:
    state = AccountState(1e6, 1e6, 1e6, open_positions)
    wanted = Proposal("LONG_STRADDLE", 0.5, 100.0)
    verdict = assess(wanted, state, Conditions(DAYS[0], DAYS[0]), RiskLimits(max_positions=most))
    assert verdict.allowed == (open_positions < most)
    assert verdict.blocked_by == (() if open_positions < most else ("max_positions",))


@given(st.integers(0, len(DEFINED_RISK) - 1), st.integers(1, 4), st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_signal_to_close_survives_every_rule(action: int, count: int, latched: bool) -> None:
    """Whatever holds entries, a model that says CLOSE is heard, for all its positions."""
    config = replace(WIDE, max_positions=4)
    held = scenes.account(held=True).held * count
    mask = np.ones(len(DEFINED_RISK), dtype=np.bool_)
    state = AccountState(1.0, 1.0, 1e6, count, worst_drawdown=1.0)
    conditions = scenes.conditions(kill_switch="latch" if latched else None, outage="down")
    signal = scenes.signal(
        action,
        account=replace(scenes.account(held=True), held=held, mask=mask, state=state),
        policy=scenes.policy(action, mandate=config.mandate),
        conditions=conditions,
        desk=Desk(RiskLimits(max_positions=4), PRESETS["rltrade"], config=config),
    )
    if action == DEFINED_RISK.close:
        assert (signal.action_name, len(signal.legs)) == ("CLOSE", 2 * count)
    else:
        assert signal.action_name == "HOLD"


def test_limits_without_any_position_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_positions=0"):
        RiskLimits(max_positions=0)


# ---------------------------------------------------------------- set-ups of wider maps

PATH = random_walk(4, 8)


@pytest.mark.parametrize("spreads", [None, SPY_SPREADS], ids=["constant", "model"])
@pytest.mark.parametrize("actions", [ALL_STRUCTURES, ALL_STRUCTURES_BY_DTE], ids=lambda m: m.name)
def test_signal_and_simulator_agree_on_every_structure_and_bucket(
    actions: ActionMap, spreads: object
) -> None:
    config = DailyConfig(
        actions=actions,
        allow_naked=True,
        spreads=spreads,  # type: ignore[arg-type]
        short_puts="cash_secured" if spreads is None else "reg_t",
    )
    costs = PRESETS["tradier"]
    book, index = PathBook(PATH, costs, config), 3
    moment = Moment(PATH.sessions[index], float(PATH.close[index]), 0.18, 0.01)
    for action, opening in enumerate(actions.openings):
        setup = entry_setup(opening, moment, Pricing(costs, config=config))
        assert setup is not None
        legs = book.legs(index, action)
        assert [leg.occ for leg in setup.legs] == [leg.contract.occ for leg in legs]
        assert setup.requirement == pytest.approx(book.requirement[index, action], abs=1e-9)
        assert {leg.quote_kind for leg in setup.legs} == {config.quote_kind}
        quotes = book.quotes(legs, index, at_open=False) or []
        asks = [quote.ask or quote.mid + costs.half_spread for quote in quotes]
        assert [leg.ask for leg in setup.legs] == pytest.approx(asks, abs=1e-12)


def test_an_uncovered_call_has_no_largest_loss_and_says_so() -> None:
    config = DailyConfig(actions=ALL_STRUCTURES, allow_naked=True)
    action = ALL_STRUCTURES.names.index("SHORT_CALL")
    signal = scenes.signal(
        action,
        account=scenes.account(
            mask=np.ones(len(ALL_STRUCTURES), dtype=np.bool_),
            state=AccountState(1e5, 1e5, 1e5),
        ),
        policy=scenes.policy(action, mandate=config.mandate),
        desk=Desk(RiskLimits(), PRESETS["rltrade"], config=config),
    )
    assert (signal.action_name, signal.max_loss) == ("SHORT_CALL", None)
    text = render_plain(signal)
    assert "MAX LOSS UNLIMITED" in text
    assert "[v] SHORT_CALL" in text
    assert "7 others" in text  # of fourteen actions seven have a bar of their own


def test_an_unlisted_opening_is_priced_by_its_bucket() -> None:
    moment = Moment(PATH.sessions[0], 200.0, 0.18, 0.01)
    near, far = (
        entry_setup(Opening("long_call", one.bucket), moment, Pricing(PRESETS["free"]))
        for one in (ALL_STRUCTURES_BY_DTE.openings[0], ALL_STRUCTURES_BY_DTE.openings[-1])
    )
    assert near is not None
    assert far is not None
    assert near.legs[0].expiry < far.legs[0].expiry
