"""Several policies as one: a weighted vote over their action probabilities, under the mask.

    p(action) = sum over members of weight * p_member(action)

The vote follows three rules, in this order:

* **Tie.** Where two or more actions have the highest probability (within 1e-9) the members decide
  nothing, and the vote is HOLD; CLOSE wins its ties.
* **Agreement.** An entry needs members with at least ``agreement`` of the weight whose own most
  probable action it is; otherwise the ensemble abstains, which is HOLD. Closing a position needs no
  such agreement: nothing may make an exit harder than an entry.
* Otherwise the mixture stands as it is, and its most probable action is the vote.

So nothing makes an exit harder than an entry.

Where a rule decided, the vote's probability is one, so that whatever chooses by
:func:`~spy_assets.evaluation.backtest.choose_action` chooses the vote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError, NonFiniteOutput

Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Gives the probability of every action under the mask, as a trained policy does.
Probabilities = Callable[[npt.NDArray[Any], Mask], Vector]

#: The published vote of three algorithms (inventory S1-23).
PRESET_WEIGHTS: Final[Mapping[str, float]] = MappingProxyType({"ppo": 0.5, "a2c": 0.3, "dqn": 0.2})
#: Sessions of evidence that count as much as the belief that all members are equally good.
PRIOR_SESSIONS: Final = 252
_TIE: Final = 1e-9
_DAILY_SESSIONS_PER_YEAR: Final = 252


@dataclass(frozen=True)
class Vote:
    """What the members said together.

    Attributes
    ----------
    probabilities
        ``[actions]``, zero outside the mask, sum one.
    action
        The most probable one.
    proposed
        What the mixture alone would have done; differs from ``action`` where the ensemble abstained.
    agreement
        Weight of the members whose own most probable action is ``proposed``, 0 to 1.
    tied
        Whether several actions were equally probable.
    entry_possible
        Whether the mask allowed any entry.
    """

    probabilities: Vector
    action: int
    proposed: int
    agreement: float
    tied: bool
    entry_possible: bool

    @property
    def abstained(self) -> bool:
        """Whether a tie or a lack of agreement made HOLD of something else."""
        return self.action != self.proposed


@dataclass(frozen=True)
class Ensemble:
    """Policies and their weights.

    Parameters
    ----------
    members
        Name to what gives its probabilities, such as
        :meth:`~spy_assets.models.policy.inference.PolicyNet.probabilities`.
    weights
        Name to weight, of the same names; not negative, sum one.
    agreement
        Least weight of the members that must want an entry, 0 (the mixture alone decides) to 1.

    Raises
    ------
    ConfigError
        No member, weights of other members, negative or not summing to one, or an agreement outside
        0 to 1.
    """

    members: Mapping[str, Probabilities]
    weights: Mapping[str, float]
    agreement: float = 0.5

    def __post_init__(self) -> None:
        if not self.members or set(self.members) != set(self.weights):
            raise ConfigError(
                f"members {sorted(self.members)}, weights of {sorted(self.weights)}",
                hint="give one weight per member, and at least one member",
            )
        values = list(self.weights.values())
        if min(values) < 0 or abs(sum(values) - 1) > 1e-6:
            raise ConfigError(
                f"weights {dict(self.weights)} sum to {sum(values):g}",
                hint="weights are not negative and sum to one; see normalised()",
            )
        if not 0 <= self.agreement <= 1:
            raise ConfigError(f"agreement {self.agreement} is no share", hint="give 0 to 1")

    def vote(self, observation: npt.NDArray[Any], mask: Mask) -> Vote:
        """Ask every member about one observation.

        Parameters
        ----------
        observation
            ``[d]``, in the order of the members' contract.
        mask
            ``[actions]``, HOLD among the allowed.

        Raises
        ------
        NonFiniteOutput
            A member gave something that is no distribution.
        """
        allowed = np.asarray(mask, dtype=np.bool_)
        said = np.array([ask(observation, allowed) for ask in self.members.values()])
        self._require_finite(said)
        weight = np.array([self.weights[name] for name in self.members])
        mixed = np.asarray(weight @ said, dtype=np.float64)
        mixed /= mixed.sum()
        best = np.flatnonzero(allowed & (mixed >= mixed[allowed].max() - _TIE))
        hold, close = len(allowed) - 2, len(allowed) - 1  # under any action map
        proposed, tied = int(close if close in best else best[0]), len(best) > 1
        wanted = np.argmax(np.where(allowed, said, -1.0), axis=1)
        agreement = float(weight[wanted == proposed].sum())
        unsure = proposed < hold and agreement < self.agreement - _TIE
        if tied or unsure:
            decided = close if proposed == close else hold
            mixed = np.where(np.arange(len(mixed)) == decided, 1.0, 0.0)
        possible = bool(allowed[:hold].any())
        return Vote(mixed, int(np.argmax(mixed)), proposed, agreement, tied, possible)

    def _require_finite(self, said: Vector) -> None:
        for name, values in zip(self.members, said, strict=True):
            if not np.isfinite(values).all():
                raise NonFiniteOutput(
                    f"member {name} gave {values.tolist()}",
                    hint="hold; leave that member out, or promote an earlier version of it",
                )

    def probabilities(self, observation: npt.NDArray[Any], mask: Mask) -> Vector:
        """Give what a single policy would give: ``[actions]``, or ``[n, actions]`` for n rows."""
        if np.ndim(observation) == 1:
            return self.vote(observation, mask).probabilities
        rows = zip(observation, mask, strict=True)
        return np.array([self.vote(seen, allowed).probabilities for seen, allowed in rows])


@dataclass
class VoteLog:
    """An ensemble that remembers its votes, for the rate at which it abstains.

    >>> log = VoteLog(Ensemble({"a": lambda o, m: m / m.sum()}, {"a": 1.0}))
    >>> int(log.probabilities(np.zeros(15), np.array([1, 1, 0, 0, 0, 1, 0], bool)).argmax())
    5
    >>> log.abstain_rate
    1.0
    """

    ensemble: Ensemble
    votes: list[Vote] = field(default_factory=list)

    def probabilities(self, observation: npt.NDArray[Any], mask: Mask) -> Vector:
        """Vote and remember."""
        self.votes.append(self.ensemble.vote(observation, mask))
        return self.votes[-1].probabilities

    @property
    def chances(self) -> int:
        """Votes in which an entry was possible."""
        return sum(vote.entry_possible for vote in self.votes)

    @property
    def abstain_rate(self) -> float | None:
        """Share of the votes with a possible entry in which the ensemble abstained; None without any."""
        abstained = sum(vote.abstained for vote in self.votes if vote.entry_possible)
        return abstained / self.chances if self.chances else None


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """Scale weights to sum one, as for the preset with a member that is not there.

    >>> normalised({"ppo": 0.5, "dqn": 0.2})["ppo"] == 0.5 / 0.7
    True

    Raises
    ------
    ConfigError
        A weight is negative or not finite, or none is above zero.
    """
    total = sum(weights.values())
    if not weights or not 0 < total < float("inf") or min(weights.values()) < 0:
        raise ConfigError(
            f"weights {dict(weights)} cannot be scaled to one",
            hint="give weights that are not negative, one of them above zero",
        )
    return {name: value / total for name, value in weights.items()}


@dataclass(frozen=True)
class Record:
    """A member's out-of-sample result.

    Attributes
    ----------
    sessions
        Sessions of the result, ascending.
    pnl
        Net P&L of each, dollars, ``[n]``; cash is the benchmark, so this is the excess.
    """

    sessions: Sequence[date]
    pnl: npt.NDArray[np.float64]

    @property
    def mean_over_error(self) -> float:
        """Mean over its standard error (the t statistic); 0 where nothing varies."""
        deviation = float(self.pnl.std(ddof=1)) if len(self.pnl) > 1 else 0.0
        if deviation <= 1e-12:
            return 0.0
        return float(self.pnl.mean()) / deviation * float(np.sqrt(len(self.pnl)))

    @property
    def information_ratio(self) -> float:
        """Annualised mean over deviation: the t statistic over the root of the years."""
        years = max(len(self.pnl), 1) / _DAILY_SESSIONS_PER_YEAR
        return self.mean_over_error / float(np.sqrt(years))


def performance_weights(
    records: Mapping[str, Record],
    *,
    judged_from: date,
    temperature: float = 1.0,
    prior_sessions: int = PRIOR_SESSIONS,
) -> dict[str, float]:
    """Weights from out-of-sample results, shrunk towards equal ones.

    With n sessions, t the mean over its standard error, and M members::

        weight = k * softmax(t / temperature) + (1 - k) / M,     k = n / (n + prior_sessions)

    so that a member is trusted more for evidence than for luck: a high ratio over few sessions has a
    small t and a small k, and no member is ever dropped on finite evidence.

    Parameters
    ----------
    records
        Results of all members over the same sessions.
    judged_from
        First session on which the ensemble will be judged or will speak: every result must end
        before it.
    temperature
        Larger is closer to equal weights.
    prior_sessions
        Evidence that the equal weights are worth.

    Raises
    ------
    DataError
        A result reaches into the sessions to be judged, members have other sessions, or a P&L is
        missing.
    ConfigError
        No member, or a parameter out of range.

    >>> days = [date(2018, 1, 2), date(2018, 1, 3)]
    >>> same = Record(days, np.array([1.0, -1.0]))
    >>> performance_weights({"a": same, "b": same}, judged_from=date(2018, 1, 4))
    {'a': 0.5, 'b': 0.5}
    """
    if not records or temperature <= 0 or prior_sessions < 0:
        raise ConfigError(
            f"{len(records)} members, temperature {temperature}, prior_sessions {prior_sessions}",
            hint="give a member, a positive temperature and no negative number of sessions",
        )
    sessions = _common_sessions(records, judged_from)
    scores = np.array([record.mean_over_error for record in records.values()]) / temperature
    odds = np.exp(scores - scores.max())
    trust = len(sessions) / (len(sessions) + prior_sessions) if sessions else 0.0
    weights = trust * odds / odds.sum() + (1 - trust) / len(records)
    return dict(zip(records, weights.tolist(), strict=True))


def _common_sessions(records: Mapping[str, Record], judged_from: date) -> tuple[date, ...]:
    """The sessions that all results are of, all before ``judged_from``."""
    common: tuple[date, ...] | None = None
    for name, record in records.items():
        days = tuple(record.sessions)
        common = days if common is None else common
        if days != common or len(days) != len(record.pnl):
            raise DataError(
                f"{name} has {len(record.pnl)} results of {len(days)} sessions, another member "
                f"{len(common)}",
                hint="run all members over the same sessions",
            )
        if days and max(days) >= judged_from:
            raise DataError(
                f"the result of {name} ends with {max(days)}, judged from {judged_from} on",
                hint="weights come from sessions before those that the ensemble is judged on",
            )
        if not np.isfinite(record.pnl).all():
            raise DataError(f"a P&L of {name} is missing", hint="leave its session out everywhere")
    return common or ()
