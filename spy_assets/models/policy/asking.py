"""What a policy is asked with, and what it answers: one interface for a network and for several.

A network looks at the observation and the mask and gives probabilities: :data:`Probabilities`, a plain
function. A policy that is made of several may also look at what else is known at the decision, and has
more to say than probabilities. It is :class:`Informed`: callable like any other, and asked through
:func:`ask` with the context, which every caller has:

* a backtest from its path (:func:`~spy_assets.models.routing.path_contexts`),
* a signal from what it saw at its decision time (the row of ``features.regime``).

Both name the regime of the session at whose close is decided, by the same rule, from nothing later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Gives the probability of every action under the mask, as a trained policy does.
Probabilities = Callable[[npt.NDArray[Any], Mask], Vector]


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What is known at a decision beside the observation.

    ``regime`` is the rule regime of the session, None where an input of the rule is missing.
    """

    regime: str | None = None


#: Nothing is known beside the observation.
UNKNOWN: Final = DecisionContext()


@dataclass(frozen=True, slots=True)
class Abstention:
    """Why several policies together did nothing.

    Attributes
    ----------
    proposed
        The action that their mixture alone would have taken.
    agreement
        Weight of the members whose own most probable action it is, 0 to 1.
    needed
        Least weight that must want an entry.
    tied
        Whether another action was equally probable; then the agreement decided nothing.
    """

    proposed: int
    agreement: float
    needed: float
    tied: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a policy says to one observation.

    Attributes
    ----------
    probabilities
        ``[actions]``, zero outside the mask, sum one.
    could_enter
        Whether this is a vote in which an entry was possible: only then is there a chance to abstain.
    abstention
        Why the vote was none, if it abstained.
    """

    probabilities: Vector
    could_enter: bool = False
    abstention: Abstention | None = None

    @property
    def abstained(self) -> bool | None:
        """Whether the vote abstained; None where there was no vote or no entry to vote on."""
        return self.abstention is not None if self.could_enter else None


@runtime_checkable
class Informed(Protocol):
    """Probabilities that may depend on the context. Called without one, they know nothing of it."""

    def __call__(self, observation: npt.NDArray[Any], mask: Mask, /) -> Vector:
        """Give ``[actions]``, or ``[n, actions]`` for n rows, where the context is not known."""
        ...

    def ask(self, observation: npt.NDArray[Any], mask: Mask, context: DecisionContext, /) -> Answer:
        """Answer one observation in its context."""
        ...


def ask(
    probabilities: Probabilities,
    observation: npt.NDArray[Any],
    mask: Mask,
    context: DecisionContext = UNKNOWN,
) -> Answer:
    """Ask any policy: one that looks at the context is told it, another is a plain function.

    >>> even = lambda observation, mask: mask / mask.sum()
    >>> ask(even, np.zeros(15), np.array([True, True])).probabilities.tolist()
    [0.5, 0.5]
    """
    if isinstance(probabilities, Informed):
        return probabilities.ask(observation, mask, context)
    return Answer(probabilities(observation, mask))
