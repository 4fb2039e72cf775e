"""The batched engine equals the readable simulator, step by step, on random markets and actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.spread_model import SPY_SPREADS
from spy_assets.signals.risk import RiskLimits, RiskSizing
from spy_assets.simulator.actions import (
    ALL_STRUCTURES,
    ALL_STRUCTURES_BY_DTE,
    CLOSE,
    HOLD,
    ActionMap,
)
from spy_assets.simulator.batch import BatchedAccounts
from spy_assets.simulator.book import DailyConfig, FixedUnits, PathBook, RiskFraction
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.episodes import Episodes
from spy_assets.simulator.exits import (
    CHAINS,
    DEFAULT_RULES,
    ExitRules,
    MaxHold,
    NearExpiry,
    SpotMove,
    exit_rules,
)
from spy_assets.simulator.kernel import check_invariant
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.simulator.paths import path_of, random_path

pytestmark = pytest.mark.filterwarnings("error")
CAPITAL = 10_000.0
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-5}
RULES = (
    DEFAULT_RULES,
    exit_rules(0.1, 0.2, 3, credit_stop=0.5),
    ExitRules((SpotMove(-0.008, 0.012), MaxHold(4)), 4),
    ExitRules(()),
)
NEAR = ExitRules((NearExpiry(minutes=None, sessions=1),))
SIZINGS = (
    FixedUnits(),
    FixedUnits(3),
    RiskFraction(0.1),
    RiskSizing(RiskLimits(risk_fraction=0.05, min_contracts=0, max_contracts=4)),
    RiskSizing(RiskLimits(risk_fraction=0.05, min_contracts=1, max_contracts=1)),
)
#: A fraction of the account in options of the last day is thousands of them: there float32's rounding
#: of a price can be a unit more or less.
BOUNDED = tuple(sizing for sizing in SIZINGS if not isinstance(sizing, RiskFraction))


def without(path, dropped):
    """The path less some sessions: missing prints."""
    keep = [i for i in range(len(path)) if i not in dropped]
    names = ("open", "close", "iv_open", "iv_close", "rate", "observation", "dividend")
    arrays = {name: getattr(path, name)[keep] for name in names}
    return MarketPath.from_arrays([path.sessions[i] for i in keep], **arrays)


def random_action(rng, mask):
    """Mostly an allowed action, sometimes any."""
    return int(rng.choice(np.flatnonzero(mask)) if rng.random() < 0.85 else rng.integers(len(mask)))


def require_equal(simulator, result, batch, i, tolerance):
    """One account of the batch beside its reference, after a step."""
    assert batch.value[i] == pytest.approx(simulator.value, rel=tolerance, abs=tolerance * CAPITAL)
    assert batch.rewards[i] == pytest.approx(result.reward, abs=100 * tolerance)
    assert batch.dones[i] == result.done
    assert batch.masks[i].tolist() == simulator.mask().tolist()
    np.testing.assert_allclose(
        batch.observations[i], simulator.observe(), rtol=0, atol=max(tolerance, 1e-6)
    )
    assert batch.invalid_actions[i] == simulator.invalid_actions


def require_same_trades(simulators, batch, tolerance):
    """All closed trades, account by account."""
    closed = batch.trades()
    for i, simulator in enumerate(simulators):
        own = closed[closed["account"] == i]
        sessions = simulator.path.sessions
        assert [batch.reasons[reason] for reason in own["reason"]] == [
            trade.exit_reason for trade in simulator.trades
        ]
        assert [(sessions[trade["decision"]], sessions[trade["exit_index"]]) for trade in own] == [
            (trade.decision_session, trade.exit_session) for trade in simulator.trades
        ]
        for name, attribute in (("quantity", "quantity"), ("closes_held", "holding_sessions")):
            assert own[name].tolist() == [getattr(trade, attribute) for trade in simulator.trades]
        expected = [trade.pnl for trade in simulator.trades]
        np.testing.assert_allclose(own["pnl"], expected, rtol=tolerance, atol=tolerance * CAPITAL)


def run_beside(book, starts, seed, *, dtype=np.float64, **options):
    """Walk a batch and its references with the same random actions; both, compared at each step."""
    rng, tolerance = np.random.default_rng(seed), TOLERANCE[dtype]
    batch = BatchedAccounts(book, len(starts), dtype=dtype, log_trades=True, **options)
    batch.reset(starts)
    simulators = [DailySimulator(book.path, start=start, book=book, **options) for start in starts]
    while not all(simulator.done for simulator in simulators):
        actions = np.array([random_action(rng, simulator.mask()) for simulator in simulators])
        batch.step(actions)
        for i, simulator in enumerate(simulators):
            if not simulator.done:
                require_equal(simulator, simulator.step(actions[i]), batch, i, tolerance)
    require_same_trades(simulators, batch, tolerance)
    return simulators, batch


@given(
    seed=st.integers(0, 10_000),
    dtype=st.sampled_from([np.float64, np.float32]),
    fill=st.sampled_from(["next_open", "next_close"]),
    costs=st.sampled_from(sorted(PRESETS)),
    rules=st.sampled_from(RULES),
    sizing=st.sampled_from(SIZINGS),
    dte=st.sampled_from([0, 7, 21]),
    close_at_end=st.booleans(),
    gaps=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_equal_to_the_reference_step_by_step(
    seed, dtype, fill, costs, rules, sizing, dte, close_at_end, gaps
):
    path = random_path(seed, 60, holes=True)
    if gaps:
        path = without(path, np.random.default_rng(seed).choice(60, 12, replace=False))
    config = DailyConfig(fill=fill, dte=dte, sizing=sizing)
    book = PathBook(path, PRESETS[costs], config)
    simulators, batch = run_beside(
        book, [0, 7, 20], seed, dtype=dtype, rules=rules, close_at_end=close_at_end
    )
    assert batch.index.tolist() == [simulator.index for simulator in simulators]
    for simulator in simulators:
        check_invariant(simulator.account)


@given(
    seed=st.integers(0, 10_000),
    dtype_and_sizing=st.sampled_from(
        [(np.float64, sizing) for sizing in SIZINGS] + [(np.float32, sizing) for sizing in BOUNDED]
    ),
    fill=st.sampled_from(["next_open", "next_close"]),
    actions=st.sampled_from([ALL_STRUCTURES, ALL_STRUCTURES_BY_DTE]),
    max_positions=st.sampled_from([1, 3]),
    spreads=st.sampled_from([None, SPY_SPREADS]),
    alpha=st.sampled_from([0.0, 0.4, 1.0]),
    rules=st.sampled_from((DEFAULT_RULES, *CHAINS.values(), NEAR)),
    gaps=st.booleans(),
    short_puts=st.sampled_from(["cash_secured", "reg_t"]),
)
@settings(deadline=None, max_examples=25)
def test_equal_with_every_structure_and_several_positions(
    seed, dtype_and_sizing, fill, actions, max_positions, spreads, alpha, rules, gaps, short_puts
):
    dtype, sizing = dtype_and_sizing
    path = random_path(seed, 60, holes=True, dividends=True)
    if gaps:
        path = without(path, np.random.default_rng(seed).choice(60, 8, replace=False))
    config = DailyConfig(
        fill=fill,
        actions=actions,
        allow_naked=True,
        max_positions=max_positions,
        spreads=spreads,
        sizing=sizing,
        short_puts=short_puts,
    )
    book = PathBook(path, replace(PRESETS["tradier"], alpha=alpha), config)
    simulators, _ = run_beside(book, [0, 9], seed, dtype=dtype, rules=rules, capital=60_000.0)
    for simulator in simulators:
        check_invariant(simulator.account)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_over_ten_years(dtype):
    book = PathBook(random_path(5, 2_500, scale=0.006), config=DailyConfig(sizing=RiskFraction()))
    simulators, batch = run_beside(book, [0], 5, dtype=dtype)
    assert len(simulators[0].trades) > 300
    assert batch.value[0] != CAPITAL


@given(st.integers(0, 10_000), st.sampled_from([np.float64, np.float32]))
@settings(deadline=None, max_examples=15)
def test_cash_and_marks_are_the_sum_of_all_trades(seed, dtype):
    batch = BatchedAccounts(PathBook(random_path(seed, 60, holes=True)), 8, dtype=dtype)
    batch.reset(np.arange(8))
    rng = np.random.default_rng(seed)
    for _ in range(70):
        batch.step(np.array([random_action(rng, mask) for mask in batch.masks]))
        gain = batch.value - CAPITAL
        np.testing.assert_allclose(gain, batch.realized + batch.open_pnl, rtol=0, atol=1e-9)


def test_rewards_add_up_to_the_gain():
    batch = BatchedAccounts(PathBook(random_path(1, 60)), 4)
    batch.reset(0)
    rng, total = np.random.default_rng(1), np.zeros(4)
    while not batch.dones.all():
        rewards, _ = batch.step(
            np.array([rng.choice(np.flatnonzero(mask)) for mask in batch.masks])
        )
        total += rewards
    np.testing.assert_allclose(total, 100 * (batch.value / CAPITAL - 1), rtol=0, atol=1e-9)


def test_an_account_that_is_done_stays_where_it_is():
    batch = BatchedAccounts(PathBook(path_of([200.0] * 6)), 2)
    batch.reset([0, 3], [5, 4])
    batch.step(np.array([HOLD, 0]))
    assert batch.dones.tolist() == [False, True]
    before = batch.value[1]
    batch.step(np.array([HOLD, 0]))
    assert (batch.rewards[1], batch.value[1], batch.index[1]) == (0.0, before, 4)


def test_two_paths_end_to_end_are_the_paths_alone():
    books = [PathBook(random_path(seed, n)) for seed, n in ((1, 40), (2, 55))]
    both = BatchedAccounts(books, 2)
    both.reset([3, 40 + 5])
    alone = [BatchedAccounts(book, 1) for book in books]
    for batch, start in zip(alone, (3, 5), strict=True):
        batch.reset(start)
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = np.array([random_action(rng, mask) for mask in both.masks])
        both.step(actions)
        for i, batch in enumerate(alone):
            batch.step(actions[i : i + 1])
    assert both.value.tolist() == [float(batch.value[0]) for batch in alone]
    assert both.dones.all()


def test_books_of_different_configurations_do_not_mix():
    path = random_path(1, 40)
    with pytest.raises(ConfigError, match="2 configurations"):
        BatchedAccounts([PathBook(path), PathBook(path, config=DailyConfig(dte=14))], 2)


def test_a_checkpoint_goes_on_bit_by_bit():
    book = PathBook(random_path(4, 80))
    options = {"episodes": Episodes.over([book], 20), "hold_through": True}
    straight, resumed = (BatchedAccounts(book, 6, **options) for _ in range(2))
    straight.seed(3)
    straight.draw()
    actions = np.random.default_rng(2).integers(0, 7, (90, 6))
    for row in actions[:40]:
        straight.step(row)
    resumed.restore(straight.state())
    for row in actions[40:]:
        straight.step(row)
        resumed.step(row)
    for name, array in straight.state().items():
        assert array.tobytes() == resumed.state()[name].tobytes()


def test_random_numbers_are_those_of_splitmix64():
    # The first outputs for the seed 1234567 of the reference implementation (Vigna, splitmix64.c).
    from spy_assets.simulator._batch_kernel import next_random

    state, drawn = np.uint64(1234567), []
    for _ in range(5):
        state, number = (np.uint64(x) for x in next_random(state))
        drawn.append(int(number))
    assert drawn == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_without_episodes_nothing_is_drawn():
    with pytest.raises(ConfigError, match="no episodes"):
        BatchedAccounts(PathBook(path_of([200.0] * 6)), 2).draw()


@pytest.mark.parametrize("action", [7, -1, 2**40, -(2**40)])
@pytest.mark.parametrize("positions", [1, 2])
def test_an_action_that_does_not_exist_moves_nobody(action, positions):
    config = DailyConfig(max_positions=positions)
    batch = BatchedAccounts(PathBook(path_of([200.0] * 6), config=config), 3)
    batch.reset(0)
    with pytest.raises(ConfigError, match=f"action {action} of account 1"):
        batch.step(np.array([0, action, CLOSE]))
    assert batch.index.tolist() == [0, 0, 0]


def test_most_steps_are_plain():
    batch = BatchedAccounts(PathBook(random_path(3, 300)), 50)
    batch.reset(0)
    rng, not_plain = np.random.default_rng(3), 0
    for _ in range(250):
        batch.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in batch.masks]))
        not_plain += batch.not_plain
    assert 0 < not_plain < 0.05 * 250 * 50


def maps_of_all_sizes():
    openings = ALL_STRUCTURES.openings
    few = [ActionMap(f"first_{k}", 1, openings[:k]) for k in (1, 2, 3, 4, 6, 7)]
    return [*few, ALL_STRUCTURES, ALL_STRUCTURES_BY_DTE]


def unlike_paths(rng, count):
    """Paths with holes, sessions without an observation, and observations of some width."""
    width = int(rng.choice([1, 2, 3, 5, 10, 14, 17]))
    for _ in range(count):
        path = random_path(int(rng.integers(1_000)), 60, holes=True, dividends=True)
        valid = path.valid.copy()
        valid[rng.integers(0, 60, 6)] = False
        seen = rng.random((60, width)).astype(np.float32)
        yield replace(path, observation=seen, valid=valid)


@given(
    seed=st.integers(0, 10_000),
    actions=st.sampled_from(maps_of_all_sizes()),
    dtype=st.sampled_from([np.float64, np.float32]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    sizing=st.sampled_from(SIZINGS),
    dte=st.sampled_from([0, 7, 21]),
)
@settings(deadline=None, max_examples=20)
def test_plain_steps_give_the_bits_of_all_others(seed, actions, dtype, flags, sizing, dte):
    rng = np.random.default_rng(seed)
    at_open, hold_through, close_at_end, drawn = flags
    config = DailyConfig(
        fill="next_open" if at_open else "next_close", actions=actions, allow_naked=True,
        sizing=sizing, dte=dte,
    )  # fmt: skip
    books = [PathBook(path, PRESETS["tradier"], config) for path in unlike_paths(rng, 2)]
    options = {"dtype": dtype, "hold_through": hold_through, "close_at_end": close_at_end}
    if drawn:
        options["episodes"] = Episodes.over(books, 12)
    plain, all_others = (
        BatchedAccounts(books, 12, log_trades=True, capital=60_000.0, **options) for _ in range(2)
    )
    for batch in (plain, all_others):
        batch.seed(seed)
        batch.draw() if drawn else batch.reset(np.arange(12))
    for _ in range(40):
        wish = rng.random(plain.masks.shape)
        anyway = rng.random(plain.masks.shape) < 0.05
        chosen = np.where(plain.masks | anyway, wish, -1.0).argmax(axis=1)
        all_others._next[0][:] = 0  # nothing is plain to it
        plain.step(chosen)
        all_others.step(chosen)
        assert all_others.not_plain == 12
        require_same_bits(plain, all_others)


def require_same_bits(one, other):
    for name in ("observations", "masks", "rewards", "dones", "terminal", "finished", "_accounts"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    held = one._accounts["positions"] > 0
    assert one._slots[held].tobytes() == other._slots[held].tobytes()
    logs = [np.sort(batch.trades(), order="account", kind="stable") for batch in (one, other)]
    assert logs[0].tobytes() == logs[1].tobytes()


def test_a_session_without_an_observation_is_not_plain():
    path = random_path(3, 30)
    valid = path.valid.copy()
    valid[1] = False
    batch = BatchedAccounts(PathBook(replace(path, valid=valid)), 4)
    batch.reset([0, 1, 2, 3])
    batch.step(np.full(4, HOLD))
    assert batch.not_plain == 1
    assert not batch.masks[0, :HOLD].any()


def test_a_state_of_other_accounts_is_refused():
    book = PathBook(path_of([200.0] * 6))
    with pytest.raises(DataError, match="expected"):
        BatchedAccounts(book, 3).restore(BatchedAccounts(book, 2).state())


@pytest.mark.parametrize(("start", "last"), [(-1, 3), (4, 3), (0, 9), (9, 9)])
def test_sessions_off_the_path_are_refused(start, last):
    with pytest.raises(DataError, match=f"from session {start} to {last}"):
        BatchedAccounts(PathBook(path_of([200.0] * 6)), 2).reset(start, last)


def test_a_sizing_of_ones_own_is_refused():
    config = DailyConfig(sizing=lambda **_: 2)
    with pytest.raises(ConfigError, match="is not compiled"):
        BatchedAccounts(PathBook(path_of([200.0] * 6), config=config), 1)
