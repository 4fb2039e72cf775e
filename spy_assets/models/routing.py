"""One policy per market regime, and a router that asks the one of the session's regime.

The regime of a session is that of :mod:`spy_assets.features.regime`: a rule on the session's VIX and on
the return of the twenty sessions up to it. It looks at nothing later. A policy of a regime is trained on
the whole window, but asked only on the sessions of its regime; on the others positions run under the
exit rules (:func:`path_of_regime`).

What the router is measured against is one policy that sees the regime (:func:`path_seeing_regime`):
if that is as good, the regimes need no policies of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import Dimension, ObservationContract
from spy_assets.features.regime import REGIMES, TREND_SESSIONS, rule_regime
from spy_assets.models.policy.asking import (
    Answer,
    DecisionContext,
    Mask,
    Probabilities,
    Vector,
    ask,
)
from spy_assets.simulator.market_path import MarketPath

FALLBACK: Final = "neutral"
#: A regime with fewer sessions than this, about a year of them, has no policy of its own.
LEAST_SESSIONS: Final = 252
#: The dimension that gives its place to the regime where one policy sees it.
GIVEN_UP: Final = 8
#: Where each regime lies between 0 and 1 for a policy that sees it.
SEEN_AS: Final[Mapping[str, float]] = {
    "strong_downtrend": 0.0,
    "neutral": 1 / 3,
    "strong_uptrend": 2 / 3,
    "high_volatility": 1.0,
}

Regimes = Sequence[str | None]


def path_regimes(path: MarketPath) -> tuple[str | None, ...]:
    """The regime of each session, None where an input of the rule is missing.

    The trend is that of the adjusted close (``close * factor``), as in the mart ``features.regime``.
    """
    adjusted = path.close * path.factor
    before = np.concatenate((np.full(min(TREND_SESSIONS, len(path)), np.nan), adjusted))
    trend = adjusted / before[: len(path)] - 1.0
    return tuple(
        rule_regime(_known(100.0 * vix), _known(change))
        for vix, change in zip(path.iv_close.tolist(), trend.tolist(), strict=True)
    )


def path_contexts(path: MarketPath) -> tuple[DecisionContext, ...]:
    """What is known at each session's close beside its observation, ``[n]``."""
    return tuple(DecisionContext(regime) for regime in path_regimes(path))


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def path_of_regime(path: MarketPath, regimes: Regimes, regime: str) -> MarketPath:
    """The path as a policy of one regime sees it: the observation is missing in every other.

    An environment over it asks the policy on the regime's sessions only, and holds through the others.
    """
    _require_aligned(path, regimes)
    inside = np.array([one == regime for one in regimes], dtype=np.bool_)
    return replace(
        path,
        observation=np.where(inside[:, None], path.observation, np.nan),
        valid=path.valid & inside,
    )


def seeing_contract(contract: ObservationContract) -> ObservationContract:
    """The contract with the regime in place of its dimension :data:`GIVEN_UP`, a gamma proxy."""
    known = ", ".join(f"{value:.2f} {name}" for name, value in SEEN_AS.items())
    regime = Dimension("regime", "the rule regime of the session", known)
    market = (*contract.market[:GIVEN_UP], regime, *contract.market[GIVEN_UP + 1 :])
    return replace(
        contract,
        name=f"{contract.name}_regime",
        description=f"{contract.name} with the rule regime in place of "
        f"{contract.market[GIVEN_UP].name}.",
        market=market,
    )


def path_seeing_regime(path: MarketPath, regimes: Regimes) -> MarketPath:
    """The path as the one policy sees it: with the regime as a dimension, missing where it is."""
    _require_aligned(path, regimes)
    seen = path.observation.copy()
    seen[:, GIVEN_UP] = [np.nan if one is None else SEEN_AS[one] for one in regimes]
    return replace(
        path,
        observation=seen,
        valid=np.asarray(np.isfinite(seen).all(axis=1)),
        contract=seeing_contract(path.contract),
    )


def session_counts(path: MarketPath, regimes: Regimes) -> dict[str, int]:
    """Sessions of each regime on which a policy could be asked; all regimes are there."""
    _require_aligned(path, regimes)
    found = Counter(
        one for one, valid in zip(regimes, path.valid.tolist(), strict=True) if one and valid
    )
    return {regime: found[regime] for regime in REGIMES}


def enough(counts: Mapping[str, int], least: int = LEAST_SESSIONS) -> tuple[str, ...]:
    """Regimes that get a policy of their own: the fallback always, the others with enough sessions."""
    return tuple(one for one in REGIMES if one == FALLBACK or counts[one] >= least)


def train_regimes(
    path: MarketPath,
    regimes: Regimes,
    train: Callable[[MarketPath, str], Probabilities],
    *,
    least: int = LEAST_SESSIONS,
) -> Router:
    """Train a policy for each regime with enough sessions.

    Parameters
    ----------
    path, regimes
        The training window and its regimes.
    train
        Trains on a path and gives what is asked; told the regime's name too. The fallback is trained
        on all sessions if it speaks for a regime that has no policy of its own.
    least
        Sessions that a regime needs.
    """
    counts = session_counts(path, regimes)
    own = enough(counts, least)
    alone = own if own == REGIMES else tuple(one for one in own if one != FALLBACK)
    shown = {one: path_of_regime(path, regimes, one) for one in alone}
    return Router({one: train(shown.get(one, path), one) for one in own}, counts)


@dataclass(frozen=True)
class Router:
    """Policies by regime.

    Attributes
    ----------
    policies
        Regime to what is asked there; the fallback must be among them.
    sessions
        Regime to the sessions that its policy had, as far as they are known.

    Raises
    ------
    ConfigError
        There is no fallback, or a regime that does not exist.
    """

    policies: Mapping[str, Probabilities]
    sessions: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = sorted(set(self.policies) - set(REGIMES))
        if strangers or FALLBACK not in self.policies:
            raise ConfigError(
                f"policies of {sorted(self.policies)}",
                hint=f"the regimes are {', '.join(REGIMES)}, and {FALLBACK} is always needed",
            )

    def asked_in(self, regime: str | None) -> str:
        """Whose policy is asked in a regime: its own, or the fallback's."""
        return regime if regime is not None and regime in self.policies else FALLBACK

    def policy_for(self, regime: str | None) -> Probabilities:
        """What is asked in a regime; where the regime is not known, the fallback."""
        return self.policies[self.asked_in(regime)]

    def __call__(self, observation: npt.NDArray[Any], mask: Mask) -> Vector:
        """What the fallback says: the regime is not known."""
        return self.policies[FALLBACK](observation, mask)

    def ask(self, observation: npt.NDArray[Any], mask: Mask, context: DecisionContext) -> Answer:
        """What the policy of the context's regime says."""
        return ask(self.policy_for(context.regime), observation, mask, context)


def _require_aligned(path: MarketPath, regimes: Regimes) -> None:
    if len(regimes) != len(path):
        raise DataError(
            f"{len(regimes)} regimes for {len(path)} sessions",
            hint="give one regime, or None, per session of the path",
        )
