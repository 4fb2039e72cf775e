"""From market, account and champion to one signal: pure, deterministic, never a guess.

The order of questions is fixed. Without a champion, a complete observation of the champion's own
contract and a sound answer of the model there is nothing to decide: HOLD, with the reason.
Otherwise the most probable allowed action is proposed, its legs are quoted, and the risk rules may
turn an entry into HOLD. They never touch CLOSE.

Quotes are those at the close of the session decided on, since the prices at which the order fills,
at the next open, are not known yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import (
    ContractMismatch,
    ModelError,
    NonFiniteOutput,
    RegistryUnavailable,
)
from spy_assets.evaluation.backtest import choose_action
from spy_assets.features.contracts import DAILY_15_PROXY_V1, ObservationContract
from spy_assets.features.observation import (
    IncompleteObservation,
    build_observation,
    missing_reasons,
)
from spy_assets.models.policy.asking import Abstention, DecisionContext, Probabilities, ask
from spy_assets.options.structures import Leg
from spy_assets.signals.calibration import Calibration
from spy_assets.signals.champion import Champion
from spy_assets.signals.contract import (
    NO_MODEL,
    Basis,
    ConfidenceKind,
    MarketView,
    RiskVerdict,
    Signal,
    make_signal_id,
)
from spy_assets.signals.risk import AccountState, Conditions, Proposal, RiskLimits, assess
from spy_assets.signals.setup import (
    NO_SETUP,
    Moment,
    Pricing,
    Setup,
    closing_setup,
    entry_setup,
)
from spy_assets.simulator.actions import CLOSE, DAILY_ACTIONS, ENTRIES, HOLD
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules

MODEL_NAME: Final = "ppo_daily"

#: Model errors that mean HOLD -> the reason's name.
_MODEL_CAUSES: Final[Mapping[type[ModelError], str]] = {
    NonFiniteOutput: "model_output_not_finite",
    ContractMismatch: "contract_mismatch",
    RegistryUnavailable: "registry_unavailable",
}

#: What a reader must know about a source, said on every signal made from it.
SOURCE_NOTICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sample": (
        "SPY* is S&P 500 / 10 without dividends, not traded SPY prices",
        "rates are a constant; option quotes come from a surface of VIX, not from a market",
    ),
}


@dataclass(frozen=True)
class MarketInput:
    """The market as known at ``as_of``, the decision time of ``session``.

    ``row`` is the row of ``features.daily_15``, or ``None`` if there is none. ``spot`` in dollars,
    ``vix`` and ``rate`` as decimals per year; ``None`` where missing.
    """

    symbol: str
    session: date
    as_of: datetime
    source: str
    row: Mapping[str, object] | None
    spot: float | None
    vix: float | None
    rate: float | None
    regime: str | None = None
    view: MarketView = field(default_factory=MarketView)

    @property
    def display_name(self) -> str:
        """The symbol as shown: ``SPY*`` for the sample, which is not the traded SPY."""
        return f"{self.symbol}*" if self.source == "sample" else self.symbol


@dataclass(frozen=True)
class AccountInput:
    """The account as the model sees it and as the risk rules see it.

    ``portfolio`` are the five portfolio dimensions, ``mask`` the allowed actions, ``held`` the legs
    of the open position (empty without one) and ``held_quantity`` its units.
    """

    portfolio: Mapping[str, float]
    mask: npt.NDArray[np.bool_]
    state: AccountState
    held: tuple[Leg, ...] = ()
    held_structure: str = ""
    held_quantity: int = 0


@dataclass(frozen=True)
class ChampionPolicy:
    """A champion and what is asked of it; ``contract_sha256`` is the definition it was trained on.

    Probabilities that look at the context are told the session's regime.
    """

    champion: Champion
    probabilities: Probabilities
    contract: str
    contract_sha256: str

    @classmethod
    def refusing(
        cls, champion: Champion, error: ModelError, contract: ObservationContract
    ) -> ChampionPolicy:
        """A champion that cannot be asked: its file is lost or broken, or the registry is away."""

        def refuse(*_observation_and_mask: object) -> npt.NDArray[np.float64]:
            raise error

        return cls(champion, refuse, contract.name, contract.sha256)


@dataclass(frozen=True)
class Desk:
    """What stays the same from signal to signal.

    ``config`` chooses expiry, strikes and surface, and must be the simulator's own.
    """

    limits: RiskLimits
    costs: CostModel
    rules: ExitRules = DEFAULT_RULES
    config: DailyConfig = field(default_factory=DailyConfig)
    contract: ObservationContract = DAILY_15_PROXY_V1

    @property
    def pricing(self) -> Pricing:
        """What the signal's legs are chosen and priced by."""
        return Pricing(self.costs, self.rules, self.config)


@dataclass(frozen=True)
class _Answer:
    """What the model wants, or why it was not asked or not understood."""

    action: int = HOLD
    asked: bool = False
    confidence: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    observation: tuple[float | None, ...] = ()
    reasons: tuple[str, ...] = ()
    abstained: bool | None = None


@dataclass(frozen=True)
class _Decided:
    answer: _Answer
    action: int
    setup: Setup
    verdict: RiskVerdict
    size: int


def build_signal(
    market: MarketInput,
    account: AccountInput,
    policy: ChampionPolicy | None,
    conditions: Conditions,
    desk: Desk,
    *,
    lake_snapshot: int | None = None,
    calibration: Calibration | None = None,
    settings_digest: str | None = None,
) -> Signal:
    """Decide for one symbol at one time.

    The same arguments give the same signal, byte for byte. Whatever is missing, stale or broken
    gives HOLD with the reason first in ``reasons``; nothing is raised for it. ``calibration`` only
    says what confidence is shown: the rules go by the policy's own probability, as in a backtest.
    """
    answer = _ask(market, account, policy, desk)
    setup = _setup(answer.action, market, account, desk)
    if setup is None:
        answer = _hold(answer, f"not_priced: {DAILY_ACTIONS[answer.action].structure}")
        setup = NO_SETUP
    proposal = Proposal(
        action_name=_name(answer.action),
        confidence=answer.confidence,
        requirement=setup.requirement,
    )
    flags = (*conditions.quality_flags, *_flags(market.row))
    conditions = replace(conditions, quality_flags=tuple(dict.fromkeys(flags)))
    verdict = assess(proposal, account.state, conditions, desk.limits)
    action = answer.action if verdict.allowed else HOLD
    if not verdict.allowed:
        setup = NO_SETUP
    size = account.held_quantity if action == CLOSE else verdict.size
    decided = _Decided(answer, action, setup, verdict, size)
    signal = _assemble(market, policy, desk, decided, calibration)
    circumstances = {"lake_snapshot": lake_snapshot, "settings_digest": settings_digest}
    return signal.model_copy(update=circumstances)


def _ask(
    market: MarketInput, account: AccountInput, policy: ChampionPolicy | None, desk: Desk
) -> _Answer:
    shown = _shown(market.row, account.portfolio, desk.contract)
    if policy is None:
        return _Answer(observation=shown, reasons=("no_model_yet",))
    if (policy.contract, policy.contract_sha256) != (desk.contract.name, desk.contract.sha256):
        detail = f"model has {policy.contract} {policy.contract_sha256[:12]}, features have "
        detail += f"{desk.contract.name} {desk.contract.sha256[:12]}"
        return _Answer(observation=shown, reasons=(f"contract_mismatch: {detail}",))
    missing = _missing(market, desk.contract)
    if missing:
        return _Answer(observation=shown, reasons=(f"missing_input: {', '.join(missing)}",))
    try:
        observation = build_observation(market.row or {}, account.portfolio, desk.contract)
        context = DecisionContext(market.regime)
        said = ask(policy.probabilities, observation, account.mask, context)
        action = choose_action(said.probabilities, account.mask)
    except IncompleteObservation as error:
        return _Answer(observation=shown, reasons=(f"missing_input: {', '.join(error.reasons)}",))
    except ModelError as error:
        cause = _MODEL_CAUSES.get(type(error), "model_error")
        return _Answer(observation=shown, reasons=(f"{cause}: {error.message}",))
    named = {_name(number): float(value) for number, value in enumerate(said.probabilities)}
    why = f"policy: {_name(action)} is the most probable allowed action"
    if said.abstention is not None:
        why = _abstention_words(said.abstention)
    seen = tuple(map(float, observation))
    return _Answer(action, True, named[_name(action)], named, seen, (why,), said.abstained)


def _abstention_words(why: Abstention) -> str:
    wanted = _name(why.proposed)
    if why.tied:
        return f"abstained: the members' vote ties {wanted} with another action"
    return (
        f"abstained: members disagree, {why.agreement:.2f} of {why.needed:.2f} weight "
        f"wanted {wanted}"
    )


def _missing(market: MarketInput, contract: ObservationContract) -> list[str]:
    if market.row is None:
        return [f"no row of {contract.name} for {market.session}"]
    missing = missing_reasons(market.row, contract)
    values = (("spot", market.spot), ("vix", market.vix), ("rate", market.rate))
    missing += [name for name, value in values if value is None or not np.isfinite(value)]
    return missing


def _shown(
    row: Mapping[str, object] | None, portfolio: Mapping[str, float], contract: ObservationContract
) -> tuple[float | None, ...]:
    """Give the state vector as far as it is known, as float32 as the model would see it."""
    known = {**(row or {}), **portfolio}
    return tuple(_finite(known.get(name)) for name in contract.names)


def _finite(value: object) -> float | None:
    if not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(np.float32(value))


def _setup(action: int, market: MarketInput, account: AccountInput, desk: Desk) -> Setup | None:
    """Quote what the action trades; ``None`` if it cannot be priced."""
    if action == HOLD or (action == CLOSE and not account.held):
        return NO_SETUP
    if market.spot is None or market.vix is None or market.rate is None:
        return None
    moment = Moment(market.session, market.spot, market.vix, market.rate)
    if action == CLOSE:
        return closing_setup(account.held, account.held_structure, moment, desk.pricing)
    return entry_setup(DAILY_ACTIONS[action].structure, moment, desk.pricing)


def _hold(answer: _Answer, reason: str) -> _Answer:
    return replace(answer, action=HOLD, asked=False, confidence=None, reasons=(reason,))


def _assemble(
    market: MarketInput,
    policy: ChampionPolicy | None,
    desk: Desk,
    decided: _Decided,
    calibration: Calibration | None,
) -> Signal:
    answer, action, setup = decided.answer, decided.action, decided.setup
    confidence, kind = _confidence(answer, calibration)
    champion = policy.champion if policy else None
    model = champion.model if champion else MODEL_NAME
    version = champion.version if champion else NO_MODEL
    basis: Basis = champion.basis if champion else "none"
    contract = desk.contract.name
    return Signal(
        signal_id=make_signal_id(market.symbol, market.as_of, model, version, contract),
        as_of=market.as_of,
        available_at=market.as_of,
        symbol=market.symbol,
        display_name=market.display_name,
        session=market.session,
        source=market.source,
        model=model,
        model_version=version,
        observation_contract=contract,
        champion_basis=basis,
        regime=market.regime,
        action=action,
        action_name=_name(action),
        requested_action=_name(answer.action) if answer.asked else None,
        structure=DAILY_ACTIONS[action].structure,
        display_symbol=setup.display_symbol.replace(market.symbol, market.display_name, 1),
        legs=setup.legs,
        probabilities=answer.probabilities,
        abstained=answer.abstained,
        confidence=confidence,
        confidence_kind=kind,
        entry=setup.entry,
        stop=setup.stop,
        target=setup.target,
        spot_levels=setup.spot_levels,
        max_profit=setup.max_profit,
        max_profit_unlimited=setup.max_profit_unlimited,
        max_loss=setup.max_loss,
        breakevens=setup.breakevens,
        size=decided.size,
        market=market.view,
        reasons=_reasons(answer, decided.verdict, action),
        risk=decided.verdict,
        quality_flags=_flags(market.row),
        notices=_notices(market, champion),
        state_vector=answer.observation,
    )


def _confidence(
    answer: _Answer, calibration: Calibration | None
) -> tuple[float | None, ConfidenceKind]:
    """Give the confidence that is shown, and what it is; only entries have a profit to be sure of."""
    if not answer.asked or answer.confidence is None:
        return None, "none"
    if calibration is None or answer.action not in ENTRIES:
        return answer.confidence, "masked_policy_probability"
    return calibration(answer.confidence), "calibrated"


def _reasons(answer: _Answer, verdict: RiskVerdict, action: int) -> tuple[str, ...]:
    """Why: the model's part first, unless a risk rule overruled it; then every failed rule."""
    failed = tuple(f"{rule.rule}: {rule.detail}" for rule in verdict.rules if not rule.passed)
    own = answer.reasons
    return failed + own if answer.asked and action != answer.action else own + failed


def _flags(row: Mapping[str, object] | None) -> tuple[str, ...]:
    quality = row.get("quality") if row else None
    if not isinstance(quality, str) or quality in ("", "ok"):
        return ()
    return tuple(quality.split(";"))


def _notices(market: MarketInput, champion: Champion | None) -> tuple[str, ...]:
    notices: Sequence[str] = SOURCE_NOTICES.get(market.source, ())
    if champion is not None and not champion.is_proven:
        return ("champion by bootstrap: not proven", champion.reason, *notices)
    return tuple(notices)


def _name(action: int) -> str:
    return DAILY_ACTIONS[action].action.name
