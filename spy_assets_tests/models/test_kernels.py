"""The compiled inner loops against readable twins in NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.models.policy.kernels import (
    best_allowed,
    double_q_targets,
    explore,
    ppo_loss,
    q_loss,
    sample_actions,
)

ROWS, ACTIONS = 40, 7


def batch(seed: int) -> dict[str, Any]:
    """Scores, masks that allow something, chosen actions, and numbers for the rest."""
    random = np.random.default_rng(seed)
    masks = random.random((ROWS, ACTIONS)) < 0.5
    masks[np.arange(ROWS), random.integers(ACTIONS, size=ROWS)] = True
    return {
        "scores": random.normal(0, 2, (ROWS, ACTIONS)).astype(np.float32),
        "values": random.normal(size=ROWS).astype(np.float32),
        "masks": masks,
        "actions": np.array([random.choice(np.flatnonzero(row)) for row in masks]),
        "numbers": random.normal(size=(3, ROWS)).astype(np.float32),
        "index": random.permutation(ROWS),
    }


def masked_softmax(scores: Any, masks: Any) -> Any:
    odds = np.where(masks, np.exp(scores.astype(np.float64)), 0.0)
    return odds / odds.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_sampling_inverts_the_distribution(seed: int) -> None:
    b, uniform = batch(seed), np.random.default_rng(seed + 1).random(ROWS)
    actions, log_probs = np.zeros(ROWS, np.int64), np.zeros(ROWS, np.float32)
    sample_actions(b["scores"], b["masks"], uniform, actions, log_probs)
    chances = masked_softmax(b["scores"], b["masks"])
    expected = (uniform[:, None] >= chances.cumsum(axis=1)).sum(axis=1)
    assert (actions == expected).mean() > 0.97  # a draw may fall within rounding of an edge
    chosen = chances[np.arange(ROWS), actions]
    np.testing.assert_allclose(log_probs, np.log(chosen), atol=1e-5)


def test_a_draw_beyond_the_rounded_sum_gives_the_last_allowed_action() -> None:
    scores, masks = np.zeros((1, 3), np.float32), np.array([[True, True, False]])
    actions, log_probs = np.zeros(1, np.int64), np.zeros(1, np.float32)
    sample_actions(scores, masks, np.array([1.0]), actions, log_probs)
    assert actions[0] == 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_ppo_loss_and_derivative_equal_automatic_ones(seed: int, normalize: bool) -> None:
    b = batch(seed)
    old, advantages, returns = b["numbers"]
    old = old * 0.3 - 1.5
    d_logits, d_values = np.zeros_like(b["scores"]), np.zeros(ROWS, np.float32)
    order, figures = b["index"], np.zeros(5)
    ppo_loss(
        b["scores"][order], b["values"][order], order, b["masks"], b["actions"], old, advantages,
        returns, normalize, 0.2, 0.03, 0.5, d_logits, d_values, figures,
    )  # fmt: skip
    logits, values = (torch.tensor(b[k], requires_grad=True) for k in ("scores", "values"))
    masks, adv = torch.tensor(b["masks"]), torch.tensor(advantages)
    logs = torch.log_softmax(torch.where(masks, logits, -1e8), 1)
    if normalize:
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
    ratio = torch.exp(logs[torch.arange(ROWS), torch.tensor(b["actions"])] - torch.tensor(old))
    policy = -torch.minimum(ratio * adv, ratio.clamp(0.8, 1.2) * adv).mean()
    entropy = -torch.where(masks, logs.exp() * logs, 0.0).sum(1).mean()
    value = ((values - torch.tensor(returns)) ** 2).mean()
    (policy - 0.03 * entropy + 0.5 * value).backward()
    np.testing.assert_allclose(d_logits, logits.grad[order], atol=1e-6)  # type: ignore[index]
    np.testing.assert_allclose(d_values, values.grad[order], atol=1e-6)  # type: ignore[index]
    expected = [policy.item(), value.item(), -entropy.item()]
    np.testing.assert_allclose(figures[:3], expected, rtol=1e-4, atol=1e-6)


def test_greedy_and_exploring_actions() -> None:
    b = batch(1)
    greedy, random = np.zeros(ROWS, np.int64), np.zeros(ROWS, np.int64)
    uniform = np.random.default_rng(2).random((ROWS, 2))
    explore(b["scores"], b["masks"], uniform, 0.0, greedy)
    explore(b["scores"], b["masks"], uniform, 1.0, random)
    assert greedy.tolist() == np.where(b["masks"], b["scores"], -np.inf).argmax(axis=1).tolist()
    allowed = [np.flatnonzero(row) for row in b["masks"]]
    expected = [row[int(draw * len(row))] for row, draw in zip(allowed, uniform[:, 1], strict=True)]
    assert random.tolist() == expected


def test_the_lower_action_wins_a_tie() -> None:
    assert best_allowed(np.ones(3, np.float32), np.array([False, True, True])) == 1


def test_double_q_targets() -> None:
    """The online network chooses, the other one values; an end bootstraps nothing."""
    b, other = batch(3), batch(4)
    order, rewards, ended = b["index"], b["numbers"][0], b["numbers"][1] > 0.5
    targets = np.zeros(ROWS, np.float32)
    double_q_targets(
        rewards,
        ended,
        order,
        b["masks"],
        b["scores"],
        other["scores"],
        other["values"],
        0.9,
        targets,
    )
    online = np.where(b["masks"], b["scores"], -np.inf)
    older = np.where(b["masks"], other["scores"], -np.inf)
    q = other["values"][:, None] + older - older.max(axis=1, keepdims=True)
    chosen = q[np.arange(ROWS), online.argmax(axis=1)]
    expected = rewards[order] + np.where(ended[order], 0.0, 0.9 * chosen)
    np.testing.assert_allclose(targets, expected, atol=1e-6)


def test_q_loss_and_derivative_equal_automatic_ones() -> None:
    b = batch(5)
    order, targets = b["index"], 3.0 * b["numbers"][0]
    d_advantages, d_values = np.zeros_like(b["scores"]), np.zeros(ROWS, np.float32)
    figures = np.zeros(2)
    q_loss(
        b["scores"][order], b["values"][order], order, b["masks"], b["actions"], targets[order],
        d_advantages, d_values, figures,
    )  # fmt: skip
    scores, values = (torch.tensor(b[k], requires_grad=True) for k in ("scores", "values"))
    best = torch.where(torch.tensor(b["masks"]), scores, -torch.inf).max(1).values
    q = values + scores[torch.arange(ROWS), torch.tensor(b["actions"])] - best
    loss = torch.nn.functional.smooth_l1_loss(q, torch.tensor(targets))
    loss.backward()
    np.testing.assert_allclose(d_advantages, scores.grad[order], atol=1e-7)  # type: ignore[index]
    np.testing.assert_allclose(d_values, values.grad[order], atol=1e-7)  # type: ignore[index]
    assert figures.tolist() == pytest.approx([loss.item(), q.mean().item()], rel=1e-5)
