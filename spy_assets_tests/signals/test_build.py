from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from spy_assets.errors import ContractMismatch, ModelError
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.models.ensemble import Ensemble
from spy_assets.models.routing import Router
from spy_assets.signals.build import ChampionPolicy
from spy_assets.signals.contract import Signal
from spy_assets.signals.incidents import incidents_of
from spy_assets.signals.rendering import render_plain
from spy_assets.signals.risk import AccountState, RiskLimits
from spy_assets.signals.statistics import signal_statistics
from spy_assets.simulator.actions import CLOSE, DAILY_ACTIONS, ENTRIES, HOLD
from spy_assets_tests.signals import scenes


def held_because(signal: Signal) -> str:
    """The first reason of a signal that must be HOLD without any trade."""
    assert signal.action_name == "HOLD"
    assert (signal.legs, signal.size, signal.entry) == ((), 0, None)
    return signal.reasons[0]


@pytest.mark.fault(63)
@pytest.mark.parametrize("action", scenes.ACTIONS)
def test_built_twice_it_is_the_same_to_the_byte(action: int) -> None:
    assert scenes.signal(action).to_json() == scenes.signal(action).to_json()


@pytest.mark.parametrize("action", ENTRIES)
def test_an_entry_is_quoted_leg_by_leg(action: int) -> None:
    signal = scenes.signal(action)
    assert signal.structure == DAILY_ACTIONS[action].structure
    assert {leg.quote_kind for leg in signal.legs} == {"surface"}
    assert all(leg.quote_time < signal.as_of for leg in signal.legs)
    assert signal.size == 1
    assert signal.confidence == pytest.approx(0.704)


def test_defined_risk_comes_from_the_quotes() -> None:
    signal = scenes.signal(3)
    bought, sold = signal.legs
    assert signal.entry == pytest.approx(bought.ask - sold.bid)
    assert signal.max_loss == pytest.approx(100 * signal.entry)
    assert signal.max_profit == pytest.approx(500 - signal.max_loss)
    assert signal.breakevens == pytest.approx((bought.strike - signal.entry,))


def test_defined_risk_changes_with_the_market() -> None:
    calm, wild = (scenes.signal(3, market=scenes.market(vix=v)).max_loss for v in (0.12, 0.40))
    assert calm != wild


def test_a_condor_receives_a_credit() -> None:
    signal = scenes.signal(4)
    assert signal.entry is not None
    assert signal.entry < 0
    assert len(signal.breakevens) == 2
    assert signal.max_loss == pytest.approx(500 + 100 * signal.entry)


def test_a_long_call_has_unlimited_profit() -> None:
    signal = scenes.signal(0)
    assert signal.max_profit_unlimited
    assert signal.max_profit is None


def test_probabilities_name_all_seven_actions() -> None:
    probabilities = scenes.signal(3).probabilities
    assert list(probabilities) == [spec.action.name for spec in DAILY_ACTIONS.values()]
    assert sum(probabilities.values()) == pytest.approx(1)


def test_close_trades_the_held_legs_the_other_way_round() -> None:
    signal = scenes.signal(CLOSE)
    (held,) = scenes.account(held=True).held
    assert [leg.occ for leg in signal.legs] == [leg.contract.occ for leg in held.legs]
    assert [leg.side for leg in signal.legs] == ["sell", "buy"]
    assert signal.size == 1


def test_the_state_vector_is_what_the_model_saw() -> None:
    signal = scenes.signal(3)
    assert len(signal.state_vector) == DAILY_15_PROXY_V1.size
    assert signal.state_vector[0] == 0.25


def test_sample_signals_say_what_they_are() -> None:
    signal = scenes.signal(3)
    assert signal.display_name == "SPY*"
    assert signal.display_symbol == "SPY* 181228 P 242/237"
    assert any("not traded SPY" in notice for notice in signal.notices)


def test_real_data_carries_no_star_and_no_notice() -> None:
    signal = scenes.signal(3, market=scenes.market(source="yfinance"))
    assert signal.display_symbol == "SPY 181228 P 242/237"
    assert signal.notices == ()


def test_a_bootstrap_champion_says_so_on_every_signal() -> None:
    champion = replace(scenes.policy(3).champion, basis="bootstrap", reason="not shown: cash")
    signal = scenes.signal(3, policy=scenes.policy(3, champion=champion))
    assert signal.notices[:2] == ("champion by bootstrap: not proven", "not shown: cash")
    assert signal.champion_basis == "bootstrap"


def test_without_a_champion_it_holds() -> None:
    signal = scenes.signal(policy=None)
    assert held_because(signal) == "no_model_yet"
    assert (signal.model_version, signal.confidence) == ("none", None)


@pytest.mark.fault(57)
@pytest.mark.parametrize("change", [{"contract": "other_v1"}, {"contract_sha256": "0" * 64}])
def test_another_observation_contract_is_refused(change: dict[str, str]) -> None:
    signal = scenes.signal(policy=scenes.policy(3, **change))
    assert held_because(signal).startswith("contract_mismatch: ")
    assert incidents_of(signal)[0].key == "contract_mismatch:SPY:ppo_daily:3"


@pytest.mark.fault(58)
def test_nan_output_holds_and_is_an_incident() -> None:
    broken = scenes.policy(3, probabilities=lambda observation, mask: np.full(7, np.nan))
    signal = scenes.signal(policy=broken)
    assert held_because(signal).startswith("model_output_not_finite: ")
    assert incidents_of(signal)[0].key == "model_output_not_finite:SPY:ppo_daily:3"


@pytest.mark.parametrize("name", DAILY_15_PROXY_V1.market_names)
def test_any_missing_input_holds_and_is_named(name: str) -> None:
    row = scenes.ROW | {name: None, "quality": f"{name}:vix_missing"}
    signal = scenes.signal(market=scenes.market(row=row))
    assert held_because(signal) == f"missing_input: {name}:vix_missing"
    assert signal.quality_flags == (f"{name}:vix_missing",)
    assert signal.state_vector[DAILY_15_PROXY_V1.names.index(name)] is None


@pytest.mark.parametrize("field", ["spot", "vix", "rate"])
def test_what_the_legs_need_is_an_input_too(field: str) -> None:
    signal = scenes.signal(market=scenes.market(**{field: None}))
    assert held_because(signal) == f"missing_input: {field}"


def test_no_row_at_all_holds() -> None:
    signal = scenes.signal(market=scenes.market(row=None))
    assert held_because(signal) == "missing_input: no row of daily_15_proxy_v1 for 2018-12-21"


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        pytest.param("clock_skew", {"clock_skew_s": -2.5}, marks=pytest.mark.fault(41)),
        pytest.param("source_outage", {"outage": "down for 3 h"}, marks=pytest.mark.fault(39)),
        pytest.param(
            "stale_model",
            {"model_train_end": scenes.TRAIN_END.replace(year=2017)},
            marks=pytest.mark.fault(59),
        ),
        ("stale_data", {"newest_session": scenes.DAY.replace(day=17)}),
        ("kill_switch", {"kill_switch": "by hand"}),
    ],
)
def test_conditions_hold_entries_with_the_reason(rule: str, change: dict[str, object]) -> None:
    signal = scenes.signal(3, conditions=scenes.conditions(**change))
    assert held_because(signal).startswith(f"{rule}: ")
    assert (signal.requested_action, signal.risk.blocked_by) == ("BEAR_SPREAD", (rule,))
    assert incidents_of(signal)[0].key.startswith(f"{rule}:SPY")


def test_conditions_never_hold_an_exit() -> None:
    wrong = scenes.conditions(clock_skew_s=99.0, outage="down", kill_switch="by hand")
    signal = scenes.signal(CLOSE, conditions=wrong)
    assert signal.action == CLOSE
    assert signal.risk.allowed


def test_an_account_without_money_holds() -> None:
    poor = scenes.account(state=AccountState(50.0, 10_000.0, 10_000.0))
    assert held_because(scenes.signal(3, account=poor)).startswith("affordability: ")


def test_a_signal_follows_its_own_limits() -> None:
    strict = replace(scenes.DESK, limits=RiskLimits(min_contracts=0, risk_fraction=0.01))
    assert held_because(scenes.signal(3, desk=strict)).startswith("sizing: 0 unit(s)")


def test_hold_by_choice_is_no_incident() -> None:
    signal = scenes.signal(HOLD)
    assert signal.reasons == ("policy: HOLD is the most probable allowed action",)
    assert incidents_of(signal) == ()


@pytest.mark.parametrize(
    ("error", "cause"),
    [(ContractMismatch("14 dimensions"), "contract_mismatch"), (ModelError("mask"), "model_error")],
)
def test_a_model_that_refuses_is_quoted(error: ModelError, cause: str) -> None:
    def refuse(observation: object, mask: object) -> NDArray[np.float64]:
        raise error

    signal = scenes.signal(policy=scenes.policy(3, probabilities=refuse))
    assert held_because(signal) == f"{cause}: {error.message}"
    assert incidents_of(signal)[0].key == f"{cause}:SPY:ppo_daily:3"


def test_a_flagged_input_blocks_where_the_limits_say_so() -> None:
    desk = replace(scenes.DESK, limits=RiskLimits(blocking_flags=("pcr",)))
    row = scenes.ROW | {"quality": "pcr:thin"}
    signal = scenes.signal(3, desk=desk, market=scenes.market(row=row))
    assert held_because(signal) == "data_quality: blocking flags: pcr:thin"


# ---------------------------------------------------------------- a champion of several members


def voting(agreement: float, *, tie: bool = False) -> ChampionPolicy:
    """Two members of which one wants a call and the other to hold, or of equal weight a put."""
    other = scenes.policy(1 if tie else HOLD).probabilities
    members = {"x": scenes.policy(0).probabilities, "y": other}
    share = 0.5 if tie else 0.6
    vote = Ensemble(members, {"x": share, "y": 1 - share}, agreement)
    return scenes.policy(0, probabilities=vote)


def test_an_abstention_is_hold_and_says_what_was_missing() -> None:
    signal = scenes.signal(policy=voting(0.7))
    assert (signal.action_name, signal.requested_action, signal.abstained) == ("HOLD", "HOLD", True)
    assert signal.reasons == ("abstained: members disagree, 0.60 of 0.70 weight wanted BUY_CALL",)
    assert incidents_of(signal) == ()
    assert Signal.from_json(signal.to_json()) == signal


@pytest.mark.parametrize("tie", [False, True])
def test_nobody_is_sure_of_an_abstention(tie: bool) -> None:
    signal = scenes.signal(policy=voting(0.7, tie=tie))
    assert (signal.abstained, signal.confidence, signal.confidence_kind) == (True, None, "none")
    assert "confidence" not in render_plain(signal)
    entry = scenes.signal(policy=voting(0.6))
    assert signal_statistics([signal, entry], []).average_confidence == entry.confidence is not None


def test_a_tie_of_the_members_is_named() -> None:
    signal = scenes.signal(policy=voting(0.0, tie=True))
    assert signal.reasons == ("abstained: the members' vote ties BUY_CALL with another action",)


def test_members_that_agree_enter_and_say_so_like_any_policy() -> None:
    signal = scenes.signal(policy=voting(0.6))
    assert (signal.action_name, signal.abstained) == ("BUY_CALL", False)
    assert signal.reasons == scenes.signal(0).reasons


def test_without_a_vote_on_an_entry_nobody_abstained() -> None:
    assert scenes.signal(0).abstained is None
    held = scenes.signal(policy=voting(1.0), account=scenes.account(held=True))
    assert held.abstained is None


def test_a_router_hears_the_regime_that_the_signal_saw() -> None:
    routes = {
        "high_volatility": scenes.policy(1).probabilities,
        "neutral": scenes.policy(0).probabilities,
    }
    champion = scenes.policy(0, probabilities=Router(routes))
    for regime, action in (
        ("high_volatility", "BUY_PUT"),
        ("strong_uptrend", "BUY_CALL"),
        (None, "BUY_CALL"),
    ):
        signal = scenes.signal(policy=champion, market=scenes.market(regime=regime))
        assert (signal.action_name, signal.regime) == (action, regime)


def test_signals_without_a_vote_keep_the_digest_they_always_had() -> None:
    plain = scenes.signal(0)
    circumstances = {"lake_snapshot", "settings_digest", "mandate"}
    body = plain.model_dump(mode="json", exclude=circumstances | {"abstained"})
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert plain.decision_digest() == hashlib.sha256(text.encode()).hexdigest()
    voted = plain.model_copy(update={"abstained": False})
    assert voted.decision_digest() != plain.decision_digest()
