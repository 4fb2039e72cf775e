"""An account that holds several positions, from its settings to its outcomes, by the real assets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spy_assets.defs import account, agent_training, deciding, judging, models, registering
from spy_assets.defs.partitions import trained_version
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import ContractMismatch, DataError, ModelFileMismatch
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.models.policy.weights import encode_weights
from spy_assets.options.spread_model import SPY_SPREADS
from spy_assets.registry import Registry
from spy_assets.sessions import (
    decision_time,
    next_session,
    previous_session,
    sessions_between,
)
from spy_assets.settings import Settings, load_settings
from spy_assets.signals.contract import Signal
from spy_assets.signals.risk import RiskSizing
from spy_assets.simulator.actions import DAILY_7
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.mandate import Mandate
from spy_assets.warehouse import Warehouse
from spy_assets_tests.graph.courts import CALLS, IDLE, Court, wants
from spy_assets_tests.graph.worlds import (
    BEFORE,
    LAST,
    SMALL,
    World,
    latest_check,
    make,
    read,
    runner,
    signals,
    write,
)

MOST = 3
WIDE: dict[str, Any] = {
    "train": SMALL["train"] | {"actions": "defined_risk"},
    "risk": {"max_positions": MOST},
    "spreads": "model",
}


@dataclass(frozen=True)
class Several:
    """A profile whose new champion trades ten structures, three at once."""

    settings: Settings
    days: list[date]
    rows: list[dict[str, Any]]

    @property
    def signals(self) -> list[Signal]:
        return [Signal.from_row(row) for row in self.rows]


@pytest.fixture(scope="module")
def several(world: World, tmp_path_factory: pytest.TempPathFactory) -> Several:
    """Train for the mandate, and signal and settle on sessions that nobody has signalled on."""
    settings = world.copy(tmp_path_factory.mktemp("several"), **WIDE)
    window = previous_session(LAST, settings.train.holdout_sessions)
    make(settings, "train_daily", [str(window)])
    days = sessions_between(next_session(window), BEFORE)
    rows = signals(settings, *days)
    make(settings, "track_outcomes", [str(day) for day in days])
    return Several(settings, days, rows)


def open_at_closes(outcomes: pl.DataFrame, days: list[date]) -> list[int]:
    """Settled trades that were open at each close."""
    spans = list(outcomes.select("entry_session", "exit_session").iter_rows())
    return [sum(first <= day < last for first, last in spans) for day in days]


@pytest.mark.slow
def test_several_positions_are_open_at_once_and_never_more(several: Several) -> None:
    outcomes = read(several.settings, "ledger.outcomes").filter(
        pl.col("session").is_in(several.days)
    )
    counts = open_at_closes(outcomes, several.days)
    assert max(counts) == MOST
    told = Counter(
        reason for one in several.signals for reason in one.reasons if "positions: " in reason
    )
    assert f"positions: {MOST} open of {MOST}" in told
    assert {one.mandate for one in several.signals} == {f"defined_risk/{MOST}"}
    assert {one.model_version for one in several.signals} == {"2"}


@pytest.mark.slow
def test_the_books_reconcile_and_every_fill_says_that_its_spread_is_a_models(
    several: Several,
) -> None:
    with runner(several.settings) as made:
        status, told = latest_check(made.instance, "ledger/outcomes", "ledger_reconciles")
        replayed, _ = latest_check(made.instance, "signals/daily_signal", "replays_equal")
    assert (status, replayed) == ("SUCCEEDED", "SUCCEEDED")
    ids = [one.signal_id for one in several.signals]
    own = pl.col("signal_id").is_in(ids)
    outcomes = read(several.settings, "ledger.outcomes").filter(own)
    fills = read(several.settings, "ledger.fills").filter(own)
    assert set(outcomes["quote_kind"]) == set(fills["quote_kind"]) == {"spread_model"}
    open_pnl = open_profit(several)
    assert outcomes["pnl"].sum() + open_pnl == pytest.approx(
        told["account_value"] - several.settings.risk.capital
    )
    entered = set(fills["signal_id"])
    assert (
        set(outcomes["signal_id"])
        <= entered
        <= {s.signal_id for s in several.signals if s.is_entry}
    )


def open_profit(several: Several) -> float:
    """What the positions that are still open have made, by the account that is rebuilt."""
    from spy_assets.signals.paper import settle

    settings, last = several.settings, several.days[-1]
    with Warehouse.open(settings) as lake:
        rows = deciding.ledger_rows(lake, "SPY", before=last)
        paper = settle(
            account.observations(lake, "SPY", last),
            account.standing_decisions(rows),
            last,
            account.paper_setup(settings),
        )
    assert paper is not None
    return sum(one.pnl for one in paper.simulator.positions)


@pytest.mark.slow
def test_the_registry_knows_what_each_version_was_trained_for(several: Several) -> None:
    known = registering.mandates_of(Registry(several.settings).versions())
    assert {version: str(mandate) for version, mandate in known.items()} == {
        "1": "daily_7/1",
        "2": f"defined_risk/{MOST}",
    }


@pytest.mark.slow
def test_an_account_of_another_mandate_does_not_ask_the_champion(several: Several) -> None:
    """The same profile under the settings that it began with."""
    spy = SpyResource(overrides=SMALL | {"home": str(several.settings.home)})
    with Warehouse.open(several.settings) as lake:
        (signal,) = deciding.decide(lake, spy, [BEFORE])
        window = previous_session(LAST, spy.settings.train.holdout_sessions)
        with pytest.raises(DataError, match=rf"version 2 was trained for defined_risk/{MOST}"):
            judging.judge(lake, spy.registry(), spy.settings, window, "2", decision_time(window))
    assert (signal.action_name, signal.model_version) == ("HOLD", "2")
    assert signal.reasons[0] == (
        f"mandate_mismatch: model was trained for defined_risk/{MOST}, account is daily_7/1"
    )


# ---------------------------------------------------------------- settings


def test_the_settings_reach_every_account_from_one_place(tmp_path: Path) -> None:
    settings, plain = load_settings(home=tmp_path, **WIDE), load_settings(home=tmp_path)
    own = account.desk(settings)
    assert (str(own.config.mandate), own.config.spreads) == (f"defined_risk/{MOST}", SPY_SPREADS)
    assert own.limits.max_positions == MOST
    assert (
        account.trading(settings).simulation == account.paper_setup(settings).config == own.config
    )
    assert account.cost_label(settings) == "rltrade, spread model"
    assert trained_version("3", settings) == f"3-defined_risk-{MOST}"
    daily = account.desk(plain)
    assert daily.config == DailyConfig(sizing=RiskSizing(daily.limits), root="SPY")
    assert (account.cost_label(plain), trained_version("3", plain)) == ("rltrade", "3")


# ---------------------------------------------------------------- judging by mandate


def register(court: Court, window: date, action: int, mandate: Mandate) -> str:
    """A policy that was trained for a mandate; gives its version."""
    tensors, record = wants(action), court.record(window, action)
    weights = encode_weights(tensors, DAILY_15_PROXY_V1, mandate=mandate)
    registry = Registry(court.settings)
    logged = registry.log_training(replace(record, weights=weights, mandate=mandate))
    assert logged.version is not None
    registry.set_alias("challenger", logged.version)
    return logged.version


def net_pnl(court: Court, version: str, strategy: str) -> float:
    found = court.rows("models.evaluations").filter(version=version, strategy=strategy)
    return float(found["net_pnl"].item())


def test_each_version_is_judged_under_its_own_mandate(tmp_path: Path) -> None:
    court = Court.sit(tmp_path)
    window, _ = court.days[-1], court.registry  # made by the first to ask for it
    one, two = Mandate.of(DAILY_7, 1), Mandate.of(DAILY_7, 2)
    first = register(court, window, CALLS, one)
    assert court.judge(window)["basis"] == "gate"
    wider = Court(load_settings(home=tmp_path, risk={"max_positions": 2}))
    second = register(wider, window, CALLS, two)
    assert second != first  # the same weights for another mandate are another version
    wider.judge(window)
    assert net_pnl(wider, second, "champion") == net_pnl(wider, first, "policy")
    assert net_pnl(wider, second, "policy") > net_pnl(wider, first, "policy")


def test_a_challenger_of_another_mandate_is_not_judged(tmp_path: Path) -> None:
    court = Court.sit(tmp_path)
    window, _ = court.days[-1], court.registry
    version = register(court, window, IDLE, Mandate.of(DAILY_7, 2))
    with Warehouse.open(court.settings) as lake, pytest.raises(DataError, match="daily_7/2"):
        judging.judge(lake, court.registry, court.settings, window, version, decision_time(window))
    with Warehouse.open(court.settings) as lake:
        own = account.mandate(court.settings)
        with pytest.raises(ModelFileMismatch, match="for daily_7/1"):
            agent_training.base_policy(lake, court.registry, str(window), own)
        cut = account.windows(lake, court.settings, window)
    with pytest.raises(ContractMismatch, match="action map 'daily_7'"):
        account.venue(court.settings, cut, Mandate("daily_7", "0" * 64, 1))


# ---------------------------------------------------------------- a champion of another mandate

ONE, THREE = Mandate.of(DAILY_7, 1), Mandate.of(DAILY_7, MOST)
#: A map of this name as another version of the program had it.
ELSEWHERE = Mandate("defined_risk", "0" * 64, 1)


@pytest.fixture
def live(tmp_path: Path) -> Court:
    """A live source and one position."""
    court = Court.sit(tmp_path, source="yfinance")
    assert court.registry.versions().is_empty()  # made by the first to ask for it
    return court


@pytest.fixture
def wider(live: Court) -> Court:
    """The same profile after the settings were changed to several positions."""
    changed = {"source": "yfinance", "risk": {"max_positions": MOST}}
    return Court(load_settings(home=live.settings.home, **changed))


def seat(court: Court, version: str, window: date, basis: str = "bootstrap") -> None:
    """Write that a version is champion from its window on."""
    train_end = Registry(court.settings).fetch(version).train_end
    row = {"model": registering.MODEL, "alias": "champion", "effective_from": decision_time(window),
           "version": version, "window_end": window, "accepted": True, "basis": basis,
           "reason": "seated", "train_end": train_end, "lake_snapshot": 1, "metrics": "{}",
           "available_at": decision_time(window), "source": court.settings.source}  # fmt: skip
    write(court.settings, "models.promotions", [row], at=decision_time(window))


@pytest.mark.parametrize("basis", ["bootstrap", "gate"])
def test_a_champion_that_cannot_be_run_keeps_nobody_off_its_seat(live: Court, basis: str) -> None:
    old, window = live.days[-30], live.days[-1]
    seat(live, register(live, old, CALLS, ELSEWHERE), old, basis)
    register(live, window, IDLE, ONE)
    decided = live.judge(window)
    assert (decided["version"], decided["basis"]) == ("2", "bootstrap")
    assert "the champion, version 1, cannot be run: the model was trained for" in decided["reason"]
    assert "action map 'defined_risk' (000000000000)" in decided["reason"]


def test_a_bootstrap_after_a_change_of_mandate_says_so(live: Court, wider: Court) -> None:
    window = live.days[-1]
    seat(live, register(live, window, IDLE, ONE), window)
    register(wider, window, IDLE, THREE)
    decided = wider.judge(window, decision_time(window) + timedelta(hours=1))
    assert decided["basis"] == "bootstrap"
    assert "the unproven champion is of another mandate, daily_7/1, seated" in decided["reason"]


def at(court: Court, hours: int) -> datetime:
    return decision_time(court.days[-1]) + timedelta(hours=hours)


def version_at(court: Court, moment: datetime) -> str | None:
    champion = court.champion_at(moment)
    return None if champion is None else champion.version


def there_and_back(narrow: Court, wide: Court) -> tuple[str, str]:
    """Judge a version, one after the settings were changed, and the first after they were set back."""
    window = narrow.days[-1]
    first = register(narrow, window, IDLE, ONE)
    narrow.judge(window, at(narrow, 1))
    second = register(wide, window, IDLE, THREE)
    assert wide.judge(window, at(narrow, 2))["basis"] == "bootstrap"
    assert register(narrow, window, IDLE, ONE) == first
    again = narrow.judge(window, at(narrow, 3))
    assert (again["version"], again["accepted"]) == (first, True)
    return first, second


def test_a_mandate_that_is_set_back_gives_the_seat_back(live: Court, wider: Court) -> None:
    first, second = there_and_back(live, wider)
    told = [version_at(live, at(live, hours)) for hours in (1, 2, 3)]
    assert told == [first, second, first]  # what was, is as it was
    assert live.registry.alias("champion") == first
    live.judge(live.days[-1], at(live, 4))
    rows = live.rows("models.promotions").sort("effective_from")
    assert rows["version"].to_list() == [first, second, first]  # judged again, it stays seated
    register(wider, live.days[-1], IDLE, THREE)
    wider.judge(live.days[-1], at(live, 5))
    assert version_at(live, at(live, 5)) == second


def test_a_historical_source_gives_the_seat_back_too(tmp_path: Path) -> None:
    court = Court.sit(tmp_path)
    assert court.registry.versions().is_empty()
    wide = Court(load_settings(home=tmp_path, risk={"max_positions": MOST}))
    first, second = there_and_back(court, wide)
    window = court.days[-1]
    assert version_at(court, decision_time(window)) == first
    for turn, (own, version) in enumerate([(wide, second), (court, first)]):
        register(own, window, IDLE, THREE if own is wide else ONE)
        own.judge(window, at(court, 4 + turn))
        assert version_at(court, decision_time(window)) == version


def test_a_seat_that_was_given_back_may_be_lost_again(live: Court, wider: Court) -> None:
    first, second = there_and_back(live, wider)
    strict = Court(
        load_settings(home=live.settings.home, source="yfinance", promotion={"bootstrap": False})
    )
    assert not strict.judge(live.days[-1], at(live, 6))["accepted"]
    assert version_at(live, at(live, 6)) == second == live.registry.alias("champion")
    assert version_at(live, at(live, 5)) == first


def test_one_that_was_champion_before_follows_one_that_cannot_be_run(live: Court) -> None:
    window = live.days[-1]
    first = register(live, window, IDLE, ONE)
    live.judge(window, at(live, 1))
    second = register(live, window, CALLS, ONE)
    assert live.judge(window, at(live, 2))["basis"] == "gate"
    # Its map is another one by now, as if this program's had changed.
    name, changed = live.registry.name, ELSEWHERE.actions_sha256
    live.registry._client.set_model_version_tag(name, second, "actions_sha256", changed)
    assert register(live, window, IDLE, ONE) == first
    assert live.judge(window, at(live, 3))["accepted"]
    assert [version_at(live, at(live, hours)) for hours in (2, 3)] == [second, first]


def test_a_champion_of_another_mandate_keeps_no_window(live: Court, wider: Court) -> None:
    window = live.days[-60]
    seat(live, register(live, window, IDLE, ONE), window)
    last = next_session(live.days[-1], 20)

    def asked(court: Court) -> date:
        with Warehouse.open(court.settings) as lake:
            return judging.window_to_train(lake, Registry(court.settings), court.settings, last)

    assert asked(live) == window
    assert asked(wider) == previous_session(last, live.settings.train.holdout_sessions)


def test_a_window_s_version_is_one_of_the_settings_mandate(live: Court) -> None:
    window = str(live.days[-1])
    own = register(live, live.days[-1], IDLE, ONE)
    other = register(live, live.days[-1], IDLE, THREE)  # its challenger now
    asked = live.registry, window
    assert registering.version_of_partition(*asked) == other
    assert registering.version_of_partition(*asked, mandate=ONE) == own
    with pytest.raises(DataError, match=rf"no version of {window} .*version {other} for daily_7/3"):
        registering.version_of_partition(*asked, other, ONE)


def test_a_window_of_another_mandate_alone_fails_at_once(live: Court) -> None:
    register(live, live.days[-1], IDLE, THREE)
    made = live.make([models.evaluation], live.days[-1], raise_on_error=False)
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    told = str(failure.step_failure_data.error)
    assert "trained for daily_7/1, which the settings have: version 1 for daily_7/3" in told
    assert not [event for event in made.all_events if event.is_step_up_for_retry]


def test_a_spooled_training_of_another_mandate_is_no_challenger(live: Court) -> None:
    window = live.days[-1]
    weights = encode_weights(wants(IDLE), DAILY_15_PROXY_V1, mandate=THREE)
    live.registry.spool.put(replace(live.record(window, IDLE), weights=weights, mandate=THREE))
    own = register(live, window, IDLE, ONE)
    with Warehouse.open(live.settings) as lake:
        found = registering.register_spooled(lake, live.registry, live.settings, at(live, 1))
    assert found == {"ppo_daily": ["2"]}
    assert live.registry.alias("challenger") == own
