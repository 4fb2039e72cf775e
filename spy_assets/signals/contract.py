"""The signal contract, version ``signal_v1``: what every model of the system says, in one shape.

Money is in US dollars. ``entry``, ``stop`` and ``target`` are the structure's net premium in
dollars per share: positive is a debit paid, negative a credit received. ``max_profit`` and
``max_loss`` are dollars for one unit of the structure (100 shares a leg), before commissions, from
the quoted legs. ``size`` counts units. Levels of the underlying stand in ``spot_levels``. Times
are UTC.

``confidence`` is what ``confidence_kind`` says. ``calibrated`` is the probability that the entry ends
with a profit, fitted on the trades that had closed by then
(:mod:`spy_assets.signals.calibration`). Until there are enough of them, and for HOLD and CLOSE, which
have no outcome, it is ``masked_policy_probability``: what the policy, under the action mask, gives
the action that it chose (``requested_action``), a probability of acting, not of profit, which always
stands in ``probabilities`` too. How good either is is measured on settled outcomes
(``signals.statistics``: Brier score and calibration error). An entry that a risk rule blocks becomes
HOLD and keeps ``requested_action`` and ``confidence``.

``CLOSE`` closes all open positions. Of one the signal shows legs and ``size`` as they were opened; of
several it shows the legs of all, oldest position first, each with all its contracts in ``ratio``, and
``size`` 1. An entry without a ``max_loss`` has none: it sells an uncovered option.

``mandate`` is the action map and the number of positions of the account that decided
(:mod:`spy_assets.simulator.mandate`), by which the number ``action`` is read; without it ``daily_7/1``.

``abstained`` says whether a model of several members found no agreement on an entry, which is HOLD with
the reason and without a ``confidence``; ``None`` where no vote was taken, or none on an entry.

``settings_digest`` names the limits, costs, clock and capital of the desk that decided; a replay under
others is another question, not another answer.

The id is a hash of symbol, ``as_of``, model version and contract versions, so a replay is the same
signal. ``decision_digest`` says whether two signals with one id also decided the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from spy_assets.sessions import require_aware

CONTRACT_VERSION: Final = "signal_v1"
NO_MODEL: Final = "none"
#: Actions that open nothing.
NOT_ENTRIES: Final = frozenset({"HOLD", "CLOSE"})

QuoteKind = Literal["surface", "spread_model", "chain"]
Basis = Literal["gate", "bootstrap", "none"]
ConfidenceKind = Literal["masked_policy_probability", "calibrated", "none"]
#: What does not belong to the decision itself.
_CIRCUMSTANCES: Final = frozenset({"lake_snapshot", "settings_digest", "mandate"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SignalLeg(_Frozen):
    """One leg as quoted at ``quote_time``; ``side`` is what the signal tells to do.

    ``quote_kind`` is ``surface`` when the price comes from the volatility surface, ``spread_model``
    when the distance from bid to ask is a model's too, and ``chain`` when a market quoted it. The fill
    happens later, at prices that nobody knows at ``as_of``.
    """

    occ: str
    side: Literal["buy", "sell"]
    ratio: int = Field(ge=1)
    right: Literal["C", "P"]
    strike: float = Field(gt=0)
    expiry: date
    bid: float = Field(ge=0)
    ask: float = Field(ge=0)
    mid: float = Field(ge=0)
    quote_time: AwareDatetime
    quote_kind: QuoteKind

    @model_validator(mode="after")
    def _not_crossed(self) -> SignalLeg:
        if not self.bid <= self.mid <= self.ask:
            raise ValueError(
                f"{self.occ}: bid {self.bid} <= mid {self.mid} <= ask {self.ask} fails"
            )
        return self


class SpotLevels(_Frozen):
    """Levels of the underlying in dollars; a condor has two stops and no target."""

    target: float | None = None
    stop: float | None = None
    lower_stop: float | None = None
    upper_stop: float | None = None


class MarketView(_Frozen):
    """What the market looked like at ``as_of``; ``None`` is a missing input, never a default.

    ``iv`` is a decimal per year (0.18), ``iv_rank`` and ``rsi14`` run from 0 to 100.
    """

    spot: float | None = None
    iv: float | None = None
    iv_rank: float | None = None
    rsi14: float | None = None
    macd_hist: float | None = None
    put_call: float | None = None
    volume_surge: float | None = None


class RuleVerdict(_Frozen):
    """What one risk rule said. ``passed`` false on an entry turns the signal into HOLD."""

    rule: str
    passed: bool
    detail: str


class RiskVerdict(_Frozen):
    """All rules in their order; ``allowed`` is false as soon as one of them blocks."""

    allowed: bool
    size: int = Field(ge=0)
    rules: tuple[RuleVerdict, ...] = ()

    @property
    def blocked_by(self) -> tuple[str, ...]:
        """Ids of the rules that did not pass, in rule order."""
        return tuple(rule.rule for rule in self.rules if not rule.passed)


class Signal(_Frozen):
    """One decision for one symbol at one time. See the module for units."""

    signal_id: str
    contract_version: str = CONTRACT_VERSION
    as_of: AwareDatetime
    available_at: AwareDatetime
    symbol: str
    display_name: str
    session: date
    source: str
    model: str
    model_version: str
    observation_contract: str
    champion_basis: Basis = "none"
    regime: str | None = None
    action: int
    action_name: str
    requested_action: str | None = None
    structure: str
    display_symbol: str = ""
    legs: tuple[SignalLeg, ...] = ()
    probabilities: dict[str, float] = Field(default_factory=dict)
    abstained: bool | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    confidence_kind: ConfidenceKind = "none"
    entry: float | None = None
    stop: float | None = None
    target: float | None = None
    spot_levels: SpotLevels = SpotLevels()
    max_profit: float | None = None
    max_profit_unlimited: bool = False
    max_loss: float | None = None
    breakevens: tuple[float, ...] = ()
    size: int = Field(default=0, ge=0)
    market: MarketView = MarketView()
    reasons: tuple[str, ...] = ()
    risk: RiskVerdict = RiskVerdict(allowed=True, size=0)
    quality_flags: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    state_vector: tuple[float | None, ...] = ()
    lake_snapshot: int | None = None
    settings_digest: str | None = None
    mandate: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Signal:
        expected = make_signal_id(
            self.symbol, self.as_of, self.model, self.model_version, self.observation_contract
        )
        if self.signal_id != expected:
            raise ValueError(
                f"signal_id {self.signal_id} is not the hash of its content, {expected}"
            )
        if self.as_of > self.available_at:
            raise ValueError(f"available_at {self.available_at} lies before as_of {self.as_of}")
        if self.size and not self.legs:
            raise ValueError(f"size {self.size} without legs")
        return self

    @property
    def is_entry(self) -> bool:
        """True when the signal tells to open a position."""
        return self.action_name not in NOT_ENTRIES

    @property
    def asked_for_entry(self) -> bool:
        """True when the model wanted to open a position, whether or not a risk rule blocked it."""
        return self.requested_action is not None and self.requested_action not in NOT_ENTRIES

    @property
    def policy_probability(self) -> float | None:
        """What the policy itself gave the action that it chose; ``None`` if it was not asked."""
        return self.probabilities.get(self.requested_action or "")

    def to_json(self) -> str:
        """Write the whole contract as JSON with sorted keys: same signal, same bytes."""
        return _dumps(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Signal:
        """Read a signal; pydantic's ``ValidationError`` on a damaged or edited payload."""
        return cls.model_validate_json(text)

    def decision_digest(self) -> str:
        """SHA-256 of everything but the circumstances: equal digests, the same decision."""
        left_out = set(_CIRCUMSTANCES)
        if self.abstained is None:
            left_out.add("abstained")  # signals from before there were votes keep their digest
        body = self.model_dump(mode="json", exclude=left_out)
        return hashlib.sha256(_dumps(body).encode()).hexdigest()

    def to_row(self) -> dict[str, Any]:
        """Give the row of ``ledger.signals``; ``payload`` holds the whole contract."""
        body = self.model_dump(mode="json")
        plain = {name: getattr(self, name) for name in _PLAIN_COLUMNS}
        nested = {name: _dumps(body[name]) for name in _JSON_COLUMNS}
        return {
            **plain,
            **nested,
            "contract": self.observation_contract,
            "risk_verdict": "allowed" if self.risk.allowed else "blocked",
            "risk_rules": _dumps(body["risk"]["rules"]),
            "payload": self.to_json(),
            "available_at": self.available_at,
            "source": self.source,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Signal:
        """Read the signal out of a row of ``ledger.signals`` (its ``payload``)."""
        return cls.from_json(row["payload"])


_PLAIN_COLUMNS: Final = (
    "signal_id",
    "symbol",
    "session",
    "as_of",
    "model",
    "model_version",
    "action",
    "action_name",
    "structure",
    "confidence",
    "entry",
    "stop",
    "target",
    "max_profit",
    "max_loss",
    "size",
    "regime",
    "lake_snapshot",
    "display_symbol",
)
_JSON_COLUMNS: Final = (
    "legs",
    "probabilities",
    "breakevens",
    "reasons",
    "quality_flags",
    "state_vector",
)


def make_signal_id(
    symbol: str, as_of: datetime, model: str, model_version: str, observation_contract: str
) -> str:
    """Hash to sixteen hex digits of a SHA-256 over what makes a signal the same signal.

    Raises ``NaiveTimestamp`` for an ``as_of`` without time zone: it would differ per machine.
    """
    instant = require_aware(as_of).isoformat(timespec="microseconds")
    parts = (symbol, instant, model, model_version, CONTRACT_VERSION, observation_contract)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def keep_first(stored: Signal | None, built: Signal) -> Signal:
    """Return the stored signal when a replay decided the same, else the newly built one.

    A replay may run on a later lake snapshot; that alone is no new version of the signal.
    """
    if stored is not None and stored.decision_digest() == built.decision_digest():
        return stored
    return built


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
