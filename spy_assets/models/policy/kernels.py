"""Compiled inner loops of training: what is done per transition, with its derivative by hand.

Each loss here is a readable formula over one batch and gives, beside its figures, the derivatives
with respect to what the network put out; :mod:`~spy_assets.models.policy.network` carries them back
to the weights. Batches are rows ``index`` of arrays over the whole rollout, so that nothing but the
observations is copied.

Arrays are float32, sums over a batch run in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import kernel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@kernel
def through_tanh(output: Floats, slope: Floats) -> None:
    """Turn derivatives by ``tanh(z)`` into derivatives by z, in place; both flat."""
    for i in range(output.shape[0]):
        slope[i] *= np.float32(1.0) - output[i] * output[i]


@kernel
def through_relu(output: Floats, slope: Floats) -> None:
    """Turn derivatives by ``max(z, 0)`` into derivatives by z, in place; both flat."""
    for i in range(output.shape[0]):
        slope[i] = slope[i] if output[i] > np.float32(0.0) else np.float32(0.0)


@kernel
def _softmax(logits: Any, allowed: Any, chances: Any) -> float:
    """Probabilities over the allowed actions; gives what is taken from logits for logarithms."""
    peak = np.float32(-np.inf)
    for k in range(logits.shape[0]):
        if allowed[k] and logits[k] > peak:
            peak = logits[k]
    total = np.float32(0.0)
    for k in range(logits.shape[0]):
        chances[k] = math.exp(logits[k] - peak) if allowed[k] else np.float32(0.0)
        total += chances[k]
    for k in range(logits.shape[0]):
        chances[k] /= total
    return float(peak + math.log(total))


@kernel
def sample_actions(
    logits: Floats, masks: Flags, uniform: Any, actions: Integers, log_probs: Floats
) -> None:
    """Draw one allowed action per row by inversion, and note its log-probability.

    Parameters
    ----------
    logits, masks
        ``[n, a]``.
    uniform
        One number in [0, 1) per row.
    actions, log_probs
        Written, ``[n]``.
    """
    row = np.empty(logits.shape[1], dtype=np.float32)
    for i in range(logits.shape[0]):
        shift = _softmax(logits[i], masks[i], row)
        reached, chosen = 0.0, -1
        for k in range(row.shape[0]):
            if masks[i, k]:
                chosen = k  # the last allowed one, should rounding leave the sum below the draw
                reached += row[k]
                if uniform[i] < reached:
                    break
        actions[i] = chosen
        log_probs[i] = logits[i, chosen] - shift


@kernel
def generalized_advantages(
    rewards: Floats,
    values: Floats,
    starts: Flags,
    last_values: Floats,
    last_dones: Flags,
    discount: float,
    trace: float,
    advantages: Floats,
    returns: Floats,
) -> None:
    """Generalized advantage estimates (arXiv:1506.02438) and the returns they imply.

    Parameters
    ----------
    rewards, values, starts
        ``[steps, n]``; ``starts`` says whether the observation of the step began an episode.
    last_values, last_dones
        Value of the observation after the rollout, and whether an episode ended with it; ``[n]``.
    discount, trace
        Gamma and lambda.
    advantages, returns
        Written, ``[steps, n]``.
    """
    steps, n = rewards.shape
    carried = np.zeros(n, dtype=np.float32)
    for step in range(steps - 1, -1, -1):
        for i in range(n):
            if step == steps - 1:
                goes_on, following = not last_dones[i], last_values[i]
            else:
                goes_on, following = not starts[step + 1, i], values[step + 1, i]
            error = rewards[step, i] - values[step, i]
            if goes_on:
                error += discount * following
                carried[i] = error + discount * trace * carried[i]
            else:
                carried[i] = error
            advantages[step, i] = carried[i]
            returns[step, i] = carried[i] + values[step, i]


@kernel
def _scale_of(values: Floats, index: Integers) -> tuple[float, float]:
    """Mean and standard deviation (divisor n - 1) of some rows."""
    total = 0.0
    for i in index:
        total += values[i]
    mean = total / index.shape[0]
    squares = 0.0
    for i in index:
        squares += (values[i] - mean) ** 2
    return mean, math.sqrt(squares / max(1, index.shape[0] - 1))


@kernel
def ppo_loss(
    logits: Floats,
    values: Floats,
    index: Integers,
    masks: Flags,
    actions: Integers,
    old_log_probs: Floats,
    advantages: Floats,
    returns: Floats,
    normalize: bool,
    clip_range: float,
    entropy_weight: float,
    value_weight: float,
    d_logits: Floats,
    d_values: Floats,
    figures: Any,
) -> None:
    r"""Clipped surrogate loss of PPO (arXiv:1707.06347) over masked actions, and its derivative.

    .. math::

        L = -\overline{\min(r A,\; \mathrm{clip}(r, 1 \pm \epsilon) A)}
            - c_H \overline{H} + c_V \overline{(V - R)^2},
        \qquad r = \pi(a) / \pi_{old}(a)

    Parameters
    ----------
    logits, values
        What the network gives for the batch, ``[b, a]`` and ``[b]``.
    index
        Rows of the batch in the arrays that follow, ``[b]``.
    masks, actions, old_log_probs, advantages, returns
        The rollout, ``[m, a]`` and ``[m]``.
    normalize
        Whether advantages are brought to mean 0 and deviation 1 within the batch.
    d_logits, d_values
        Written: derivatives of the loss, ``[b, a]`` and ``[b]``.
    figures
        Written, ``[5]``: policy loss, value loss, mean entropy with a minus sign, approximate KL
        divergence of old and new policy, share of clipped ratios.
    """
    count, width = logits.shape
    mean, deviation = 0.0, 1.0
    if normalize:
        mean, deviation = _scale_of(advantages, index)
        deviation += 1e-8
    low, high, share = 1.0 - clip_range, 1.0 + clip_range, 1.0 / count
    row = np.empty(width, dtype=np.float32)
    figures[:] = 0.0
    for i in range(count):
        at = index[i]
        allowed, action = masks[at], actions[at]
        shift = _softmax(logits[i], allowed, row)
        entropy = shift
        for k in range(width):
            entropy -= row[k] * logits[i, k]
        advantage = (advantages[at] - mean) / deviation
        log_ratio = logits[i, action] - shift - old_log_probs[at]
        ratio = math.exp(log_ratio)
        gain, bounded = advantage * ratio, advantage * min(max(ratio, low), high)
        slope = -gain * share if gain <= bounded else 0.0
        for k in range(width):
            pull = entropy_weight * share * (logits[i, k] - shift + entropy)
            d_logits[i, k] = row[k] * (pull - slope)
        d_logits[i, action] += slope
        error = float(values[i] - returns[at])
        d_values[i] = 2.0 * value_weight * share * error
        figures[0] -= min(gain, bounded) * share
        figures[1] += error * error * share
        figures[2] -= entropy * share
        figures[3] += (ratio - 1.0 - log_ratio) * share
        figures[4] += share if abs(ratio - 1.0) > clip_range else 0.0


@kernel
def best_allowed(scores: Any, allowed: Any) -> int:
    """Position of the largest allowed score; the lower one wins a tie."""
    best = -1
    for k in range(scores.shape[0]):
        if allowed[k] and (best < 0 or scores[k] > scores[best]):
            best = k
    return best


@kernel
def explore(
    advantages: Floats, masks: Flags, uniform: Any, exploration: float, actions: Integers
) -> None:
    """Choose the best allowed action of each row, or any allowed one with a small probability.

    Parameters
    ----------
    advantages, masks
        ``[n, a]``.
    uniform
        Two numbers in [0, 1) per row, ``[n, 2]``: whether to explore, and what.
    exploration
        The probability.
    actions
        Written, ``[n]``.
    """
    for i in range(advantages.shape[0]):
        if uniform[i, 0] >= exploration:
            actions[i] = best_allowed(advantages[i], masks[i])
            continue
        left = int(uniform[i, 1] * masks[i].sum())
        for k in range(masks.shape[1]):
            if masks[i, k]:
                actions[i] = k
                left -= 1
                if left < 0:
                    break


@kernel
def double_q_targets(
    rewards: Floats,
    ended: Flags,
    index: Integers,
    next_masks: Flags,
    online: Floats,
    advantages: Floats,
    values: Floats,
    discount: float,
    targets: Floats,
) -> None:
    """Targets of double Q-learning (arXiv:1509.06461) among the actions allowed next.

    The online network chooses the next action, the target network values it. Both are dueling, with
    the best allowed action as the reference: Q = V + A - max A.

    Parameters
    ----------
    rewards, ended, index
        ``[m]``, ``[m]``, and the rows of the batch in them, ``[b]``.
    next_masks
        Actions allowed after the step, ``[b, a]``.
    online
        Advantages of the online network after the step, ``[b, a]``.
    advantages, values
        Those of the target network, ``[b, a]`` and ``[b]``.
    targets
        Written, ``[b]``.
    """
    for i in range(index.shape[0]):
        at = index[i]
        targets[i] = rewards[at]
        if not ended[at]:
            chosen = best_allowed(online[i], next_masks[i])
            best = best_allowed(advantages[i], next_masks[i])
            gap = advantages[i, chosen] - advantages[i, best]
            targets[i] += discount * (values[i] + gap)


@kernel
def q_loss(
    advantages: Floats,
    values: Floats,
    index: Integers,
    masks: Flags,
    actions: Integers,
    targets: Floats,
    d_advantages: Floats,
    d_values: Floats,
    figures: Any,
) -> None:
    """Huber loss of Q = V + A - max A against the targets, and its derivative.

    Parameters
    ----------
    advantages, values
        What the network gives for the batch, ``[b, a]`` and ``[b]``.
    index, masks, actions
        Rows of the batch, and the replay memory that they are rows of.
    targets
        ``[b]``.
    d_advantages, d_values
        Written: derivatives of the mean loss.
    figures
        Written, ``[2]``: the loss, the mean of Q.
    """
    count = advantages.shape[0]
    share = 1.0 / count
    figures[:] = 0.0
    d_advantages[:] = 0.0
    for i in range(count):
        at = index[i]
        best = best_allowed(advantages[i], masks[at])
        q = values[i] + advantages[i, actions[at]] - advantages[i, best]
        error = float(q - targets[i])
        slope = min(max(error, -1.0), 1.0) * share
        d_advantages[i, actions[at]] += slope
        d_advantages[i, best] -= slope
        d_values[i] = slope
        size = abs(error)
        figures[0] += share * (0.5 * error * error if size < 1.0 else size - 0.5)
        figures[1] += share * q
