from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from spy_assets.errors import ConfigError, DataError, ModelFileMismatch
from spy_assets.models.preference.pairs import ComparedPairs
from spy_assets.models.preference.reward_model import (
    RewardModel,
    fit_reward_model,
    held_out_accuracy,
)
from spy_assets_tests.models.preference.raters import (
    CAPITAL,
    TASTE,
    answers,
    closed_trade,
    feature,
)

PAIRS = answers(300)


@pytest.mark.parametrize("l2", [0.1, 1.0, 30.0])
def test_the_fit_is_that_of_scikit_learn(l2: float) -> None:
    """Its penalty is |w|^2 / 2 + C * loss: the same minimum for C = 1 / l2."""
    ours = fit_reward_model(PAIRS, capital=CAPITAL, l2=l2)
    difference = (PAIRS.left - PAIRS.right) / ours.scale
    theirs = LogisticRegression(fit_intercept=False, C=1 / l2, tol=1e-10, max_iter=10_000)
    theirs.fit(difference, PAIRS.left_preferred)
    assert ours.weights == pytest.approx(theirs.coef_[0], abs=1e-5)
    said = theirs.predict_proba(difference)[:, 1]
    assert ours.probability(PAIRS.left, PAIRS.right) == pytest.approx(said, abs=1e-5)


def test_much_asked_a_person_s_taste_is_found() -> None:
    model = fit_reward_model(answers(4_000), capital=CAPITAL, l2=0.01)
    found = model.per_feature()
    for name in ("gain", "loss", "stopped"):
        assert found[name] == pytest.approx(TASTE[feature(name)], rel=0.25)


def test_separable_answers_have_a_finite_fit() -> None:
    pairs = ComparedPairs(np.eye(7)[:3] * 5, np.zeros((3, 7)), np.array([True, True, True]))
    model = fit_reward_model(pairs, capital=CAPITAL)
    assert np.isfinite(model.weights).all()
    assert (model.weights[:3] > 0).all()
    assert not model.weights[3:].any()


def test_turning_a_pair_round_changes_nothing() -> None:
    turned = ComparedPairs(PAIRS.right, PAIRS.left, ~PAIRS.left_preferred)
    ours, theirs = (fit_reward_model(one, capital=CAPITAL).weights for one in (PAIRS, turned))
    assert ours == pytest.approx(theirs, abs=1e-10)


def test_doing_nothing_scores_nothing_and_a_profit_beats_a_loss() -> None:
    model = fit_reward_model(PAIRS, capital=CAPITAL)
    assert model.score(np.zeros((1, 7))) == pytest.approx([0.0])
    assert model.reward(closed_trade(pnl=150.0)) > 0 > model.reward(closed_trade(pnl=-150.0))


def test_answers_that_were_not_fitted_are_foretold() -> None:
    """The best possible guess is right in 76 % of this person's answers, as their odds say."""
    held = held_out_accuracy(PAIRS, capital=CAPITAL)
    difference = PAIRS.left - PAIRS.right
    sure = np.abs(1 / (1 + np.exp(-difference @ TASTE)) - 0.5) + 0.5
    assert held.total == 300
    assert held.accuracy is not None
    error = np.sqrt(0.25 / held.total)
    assert sure.mean() - 4 * error < held.accuracy <= sure.mean() + 4 * error


def test_answers_by_chance_are_not_foretold() -> None:
    held = held_out_accuracy(answers(400, taste=0 * TASTE), capital=CAPITAL)
    assert held.accuracy == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 400))


def test_too_few_answers_hold_nothing_out() -> None:
    few = ComparedPairs(PAIRS.left[:4], PAIRS.right[:4], PAIRS.left_preferred[:4])
    held = held_out_accuracy(few, capital=CAPITAL)
    assert (held.total, held.accuracy) == (0, None)


def test_a_model_survives_as_json() -> None:
    model = fit_reward_model(PAIRS, capital=CAPITAL)
    again = RewardModel.from_json(model.to_json())
    assert again.to_json() == model.to_json()
    assert again.reward(closed_trade()) == model.reward(closed_trade())
    other = json.loads(model.to_json()) | {"features": ["gain"]}
    with pytest.raises(ModelFileMismatch, match="gain"):
        RewardModel.from_json(json.dumps(other))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="no preference"):
        fit_reward_model(answers(0), capital=CAPITAL)
    with pytest.raises(ConfigError, match="l2=0"):
        fit_reward_model(PAIRS, capital=CAPITAL, l2=0)
    with pytest.raises(ConfigError, match="folds=1"):
        held_out_accuracy(replace(PAIRS), capital=CAPITAL, folds=1)
