"""What was seen, what was done, what it earned: the rows that a policy learns from afterwards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.features.contracts import DAILY_15_PROXY_V1, ObservationContract
from spy_assets.simulator.actions import DAILY_7, ActionMap

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Entries whose trades have closed.

    Attributes
    ----------
    observation
        What the policy saw, ``[n, d]`` float64, in the order of ``contract``.
    mask
        Actions that were allowed, ``[n, actions]``.
    action
        The entry that was made, ``[n]``.
    gain
        What it earned, ``[n]``: P&L after costs over capital at risk, as a decimal. Or another reward
        on a scale where zero is what doing nothing earns.
    ids
        Name of each, ``[n]``: the signal's id.
    contract
        What the dimensions of ``observation`` are.
    left_out
        Why others were not taken -> how many.
    actions
        What the numbers of ``action`` mean.
    """

    observation: Vector
    mask: npt.NDArray[np.bool_]
    action: npt.NDArray[np.int64]
    gain: Vector
    ids: tuple[str, ...]
    contract: ObservationContract = DAILY_15_PROXY_V1
    left_out: Mapping[str, int] = field(default_factory=dict)
    actions: ActionMap = DAILY_7

    def __post_init__(self) -> None:
        n, d, most = len(self.ids), self.contract.size, len(self.actions)
        shapes = (self.observation.shape, self.mask.shape, self.action.shape, self.gain.shape)
        if shapes != ((n, d), (n, most), (n,), (n,)):
            raise DataError(
                f"observation, mask, action and gain have shapes {shapes} for {n} outcomes",
                hint=f"they are ({n}, {d}), ({n}, {most}), ({n},) and ({n},)",
            )
        if not (np.isfinite(self.observation).all() and np.isfinite(self.gain).all()):
            raise DataError("an outcome has no finite observation or gain", hint="leave it out")
        if n and not self.mask[np.arange(n), self.action].all():
            at = int(np.flatnonzero(~self.mask[np.arange(n), self.action])[0])
            raise DataError(f"{self.ids[at]} took action {self.action[at]}, which was not allowed")

    def __len__(self) -> int:
        return len(self.ids)

    def with_gain(self, gain: npt.ArrayLike) -> Outcomes:
        """The same decisions with another reward, ``[n]``."""
        return replace(self, gain=np.asarray(gain, dtype=np.float64))

    @classmethod
    def of(
        cls,
        decisions: Sequence[tuple[str, npt.ArrayLike, npt.ArrayLike, int, float]],
        contract: ObservationContract = DAILY_15_PROXY_V1,
        left_out: Mapping[str, int] | None = None,
        actions: ActionMap = DAILY_7,
    ) -> Outcomes:
        """Make them of (id, observation, mask, action, gain), none of them if there is none."""
        n = len(decisions)
        ids, seen, masks, taken, gains = zip(*decisions, strict=True) if n else ((),) * 5
        return cls(
            observation=np.array(seen, dtype=np.float64).reshape(n, contract.size),
            mask=np.array(masks, dtype=np.bool_).reshape(n, len(actions)),
            action=np.array(taken, dtype=np.int64),
            gain=np.array(gains, dtype=np.float64),
            ids=tuple(ids),
            contract=contract,
            left_out=dict(left_out or {}),
            actions=actions,
        )


def join(parts: Sequence[Outcomes]) -> Outcomes:
    """Put outcomes of one contract and one action map together.

    Raises
    ------
    DataError
        There are none, or they are of several contracts or maps.
    """
    contracts = {(part.contract.sha256, part.actions.sha256) for part in parts}
    if len(contracts) != 1:
        raise DataError(
            f"{len(parts)} sets of outcomes of {len(contracts)} contracts cannot be joined",
            hint="join sets of one observation contract and one action map, at least one",
        )
    return Outcomes(
        observation=np.concatenate([part.observation for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
        action=np.concatenate([part.action for part in parts]),
        gain=np.concatenate([part.gain for part in parts]),
        ids=tuple(name for part in parts for name in part.ids),
        contract=parts[0].contract,
        left_out=sum((Counter(part.left_out) for part in parts), Counter()),
        actions=parts[0].actions,
    )


def outcomes_from_rows(
    signals: Iterable[Mapping[str, Any]],
    outcomes: Iterable[Mapping[str, Any]],
    contract: ObservationContract = DAILY_15_PROXY_V1,
    *,
    gain: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None] | None = None,
    actions: ActionMap = DAILY_7,
) -> Outcomes:
    """Match rows of ``ledger.signals`` with those of ``ledger.outcomes``.

    Only entries have outcomes. Which actions were allowed is read off the recorded probabilities: the
    mask gives exactly zero to the others. Every signal records all actions of its map by name, and
    names are what is compared and read: several maps have the same names under other numbers. A signal
    of another contract or action map, one with an incomplete observation or without a capital at risk
    is left out and counted.

    Parameters
    ----------
    signals, outcomes
        The rows; every other column is ignored.
    contract
        The observation that the policy was trained on.
    gain
        Gives the reward of a signal's and its outcome's row, None to leave it out; ``pnl_pct`` of the
        outcome by default.
    actions
        What the policy's numbers mean.
    """
    settled = {row["signal_id"]: row for row in outcomes}
    reward = gain or _return_on_risk
    taken, left_out = [], Counter[str]()
    for row in signals:
        outcome = settled.get(row["signal_id"])
        if outcome is None:  # only entries have one
            continue
        found = _decision(row, outcome, contract, actions, reward)
        if isinstance(found, str):
            left_out[found] += 1
        else:
            taken.append(found)
    return Outcomes.of(taken, contract, left_out, actions)


def _return_on_risk(_signal: Mapping[str, Any], outcome: Mapping[str, Any]) -> float | None:
    value = outcome["pnl_pct"]
    return None if value is None else float(value)


def _decision(
    signal: Mapping[str, Any],
    outcome: Mapping[str, Any],
    contract: ObservationContract,
    actions: ActionMap,
    reward: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None],
) -> tuple[str, list[float], list[bool], int, float] | str:
    """One decision, or why it cannot be learnt from."""
    if signal["contract"] != contract.name:
        return f"contract {signal['contract']}"
    seen = json.loads(signal["state_vector"] or "[]")
    if len(seen) != contract.size or None in seen:
        return "incomplete observation"
    taken = _action(signal, actions)
    if isinstance(taken, str):
        return taken
    gain = reward(signal, outcome)
    if gain is None or not np.isfinite(gain):
        return "no reward"
    return str(signal["signal_id"]), seen, *taken, gain


def _action(signal: Mapping[str, Any], actions: ActionMap) -> tuple[list[bool], int] | str:
    """What was allowed and what was done, by the numbers of a map; or why they are not known."""
    said = json.loads(signal["probabilities"] or "{}")
    if said and set(said) != set(actions.names):  # also where they are a part of this map's
        return "another action map"
    name = signal["action_name"]
    if not said.get(name, 0.0) > 0.0:
        return "no probability recorded"
    return [said[one] > 0.0 for one in actions.names], actions.names.index(name)
