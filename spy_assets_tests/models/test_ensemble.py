from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError, NonFiniteOutput
from spy_assets.evaluation.backtest import Venue, choose_action, greedy, run_policy
from spy_assets.models.ensemble import (
    PRESET_WEIGHTS,
    Ensemble,
    Probabilities,
    Record,
    VoteLog,
    normalised,
    performance_weights,
)
from spy_assets.simulator.actions import CLOSE, HOLD
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.models.policies import MIDDLE, random_net

FLAT = np.array([1, 1, 1, 1, 1, 1, 0], dtype=bool)
OPEN = np.array([0, 0, 0, 0, 0, 1, 1], dtype=bool)
JUDGED = date(2018, 6, 1)


def says(**given: float) -> Probabilities:
    """A member that always gives these probabilities: ``a0=0.6`` is action 0."""
    values = np.zeros(7)
    for name, value in given.items():
        values[int(name[1:])] = value
    return lambda observation, mask: values


def three(agreement: float, ppo: Any, a2c: Any, dqn: Any) -> Ensemble:
    return Ensemble({"ppo": ppo, "a2c": a2c, "dqn": dqn}, PRESET_WEIGHTS, agreement)


def test_the_preset_weighs_three_algorithms_as_published() -> None:
    ensemble = three(0.0, says(a0=0.6, a5=0.4), says(a1=1.0), says(a1=0.5, a5=0.5))
    expected = [0.5 * 0.6, 0.3 + 0.2 * 0.5, 0, 0, 0, 0.5 * 0.4 + 0.2 * 0.5, 0]
    vote = ensemble.vote(MIDDLE, FLAT)
    assert vote.probabilities == pytest.approx(expected)
    assert (vote.action, vote.agreement, vote.abstained) == (1, pytest.approx(0.5), False)


@pytest.mark.parametrize(("agreement", "action"), [(0.5, 0), (0.51, HOLD)])
def test_an_entry_needs_the_agreement_that_is_asked_for(agreement: float, action: int) -> None:
    ensemble = three(agreement, says(a0=0.9, a5=0.1), says(a5=1.0), says(a1=0.6, a0=0.4))
    vote = ensemble.vote(MIDDLE, FLAT)
    assert (vote.action, vote.proposed, vote.abstained) == (action, 0, action == HOLD)
    assert choose_action(vote.probabilities, FLAT) == action


def test_closing_needs_no_agreement() -> None:
    sure = says(a6=1.0)
    unsure = says(a5=0.51, a6=0.49)
    vote = three(1.0, unsure, unsure, sure).vote(MIDDLE, OPEN)
    assert (vote.action, vote.agreement) == (CLOSE, pytest.approx(0.2))
    assert not vote.abstained


@pytest.mark.parametrize("other", [1, HOLD])
def test_a_tie_is_hold(other: int) -> None:
    ensemble = Ensemble({"x": says(a0=1.0), "y": says(**{f"a{other}": 1.0})}, {"x": 0.5, "y": 0.5})
    vote = ensemble.vote(MIDDLE, FLAT)
    assert (vote.action, vote.tied, vote.abstained) == (HOLD, True, True)
    assert vote.probabilities[HOLD] == 1.0


def test_closing_wins_its_ties() -> None:
    split = Ensemble({"x": says(a6=1.0), "y": says(a5=1.0)}, {"x": 0.5, "y": 0.5})
    vote = split.vote(MIDDLE, OPEN)
    assert (vote.action, vote.proposed, vote.tied, vote.abstained) == (CLOSE, CLOSE, True, False)
    assert choose_action(vote.probabilities, OPEN) == CLOSE


@given(seeds=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True),
       allowed=st.lists(st.booleans(), min_size=7, max_size=7),
       agreement=st.floats(0, 1))  # fmt: skip
def test_a_vote_is_always_a_distribution_under_the_mask(
    seeds: list[int], allowed: list[bool], agreement: float
) -> None:
    mask = np.array(allowed)
    mask[HOLD] = True
    members = {str(seed): random_net(seed).probabilities for seed in seeds}
    equal = normalised(dict.fromkeys(members, 1.0))
    values = Ensemble(members, equal, agreement).probabilities(MIDDLE, mask)
    assert values.sum() == pytest.approx(1.0)
    assert not values[~mask].any()
    assert mask[choose_action(values, mask)]


def test_one_member_alone_is_itself() -> None:
    net = random_net(3)
    rows, masks = np.tile(MIDDLE, (2, 1)), np.tile(FLAT, (2, 1))
    alone = Ensemble({"it": net.probabilities}, {"it": 1.0})
    assert alone.probabilities(rows, masks) == pytest.approx(net.probabilities(rows, masks))


def test_a_backtest_runs_an_ensemble_and_counts_its_abstentions() -> None:
    venue = Venue(random_walk(1))
    members = {name: random_net(seed).probabilities for seed, name in enumerate(PRESET_WEIGHTS)}
    log = VoteLog(Ensemble(members, PRESET_WEIGHTS, agreement=0.8))
    result = run_policy(venue, greedy(log.probabilities))
    flat = [one for one in result.decisions if 0 in one.allowed]
    held = [one for one in flat if one.action == HOLD]
    assert log.chances == len(flat)
    assert log.abstain_rate == pytest.approx(
        sum(vote.abstained for vote in log.votes if vote.entry_possible) / len(flat)
    )
    assert 0 < log.abstain_rate <= len(held) / len(flat)


def test_without_a_chance_there_is_no_rate() -> None:
    assert VoteLog(Ensemble({"x": says(a5=1.0)}, {"x": 1.0})).abstain_rate is None


@pytest.mark.parametrize(
    ("weights", "agreement", "told"),
    [
        ({"x": 1.0, "y": 0.0}, 0.5, "weights of"),
        ({"x": 0.9}, 0.5, "sum to 0.9"),
        ({"x": 1.0}, 1.5, "agreement 1.5"),
        ({}, 0.5, "weights of"),
    ],
)
def test_impossible_ensembles_are_refused(
    weights: dict[str, float], agreement: float, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Ensemble({"x": says(a5=1.0)}, weights, agreement)


def test_a_member_without_an_answer_is_named() -> None:
    with pytest.raises(NonFiniteOutput, match="member x gave"):
        Ensemble({"x": says(a5=np.nan)}, {"x": 1.0}).vote(MIDDLE, FLAT)


def test_weights_that_sum_to_nothing_cannot_be_scaled() -> None:
    with pytest.raises(ConfigError, match="cannot be scaled"):
        normalised({"x": 0.0})


# ---------------------------------------------------------------- weights from performance


def record(pnl: Any, last: date = JUDGED - timedelta(days=1)) -> Record:
    values = np.asarray(pnl, dtype=np.float64)
    return Record([last - timedelta(days=k) for k in range(len(values))][::-1], values)


def test_performance_weights_by_hand() -> None:
    """Two sessions: t of (3, 1) is 2 / (sqrt 2 / sqrt 2) = 2, of (1, -1) it is 0; k = 2/4."""
    found = performance_weights(
        {"good": record([3.0, 1.0]), "idle": record([1.0, -1.0])},
        judged_from=JUDGED,
        prior_sessions=2,
    )
    softmax = np.exp(2) / (np.exp(2) + 1)
    assert found == pytest.approx({"good": 0.5 * softmax + 0.25, "idle": 0.75 - 0.5 * softmax})


@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=9, max_size=9), min_size=1, max_size=5))
def test_performance_weights_are_weights_in_the_order_of_merit(rows: list[list[float]]) -> None:
    records = {str(number): record(row) for number, row in enumerate(rows)}
    weights = performance_weights(records, judged_from=JUDGED)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert min(weights.values()) >= 0
    merit = [records[name].mean_over_error for name in weights]
    assert np.argmax(list(weights.values())) in np.flatnonzero(np.isclose(merit, max(merit)))


def test_little_evidence_moves_little_and_much_moves_more() -> None:
    rng = np.random.default_rng(0)
    lead = [
        performance_weights(
            {"good": record(rng.normal(1, 5, n)), "bad": record(rng.normal(-1, 5, n))},
            judged_from=JUDGED,
        )["good"]
        for n in (10, 100, 1000)
    ]
    assert 0.5 <= lead[0] < lead[1] < lead[2] < 1
    assert lead[0] < 0.55
    assert lead[2] > 0.85


def test_the_information_ratio_is_annual() -> None:
    one = record([1.0, 2.0, 3.0])
    assert one.information_ratio == pytest.approx(2.0 / 1.0 * np.sqrt(252))
    assert record([1.0, 1.0]).information_ratio == 0.0


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ({"x": record([1.0, 2.0], last=JUDGED)}, "judged from 2018-06-01"),
        ({"x": record([1.0, 2.0]), "y": record([1.0])}, "same sessions"),
        ({"x": record([1.0, np.nan])}, "missing"),
    ],
)
def test_results_that_may_not_be_weighed_are_refused(records: dict[str, Record], told: str) -> None:
    with pytest.raises(DataError, match=told):
        performance_weights(records, judged_from=JUDGED)


def test_no_member_has_no_weight() -> None:
    with pytest.raises(ConfigError, match="0 members"):
        performance_weights({}, judged_from=JUDGED)
