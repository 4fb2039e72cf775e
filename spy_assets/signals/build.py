"""From market, account and champion to one signal: pure, deterministic, never a guess.

The order of questions is fixed. Without a champion, a complete observation of the champion's own
contract and a sound answer of the model there is nothing to decide: HOLD, with the reason.
A model that was trained for another mandate (other actions, another number of positions) is not asked
either. Otherwise the most probable allowed action is proposed, its legs are quoted, and the risk rules
may turn an entry into HOLD. They never touch CLOSE, which closes all open positions.

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
    AND,
    NO_SETUP,
    Held,
    Moment,
    Pricing,
    Setup,
    closing_setup,
    entry_setup,
)
from spy_assets.simulator.actions import ActionMap
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate

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

    ``portfolio`` are the five portfolio dimensions, ``mask`` the allowed actions, ``held`` the open
    positions, oldest first.
    """

    portfolio: Mapping[str, float]
    mask: npt.NDArray[np.bool_]
    state: AccountState
    held: tuple[Held, ...] = ()


@dataclass(frozen=True)
class ChampionPolicy:
    """A champion and what is asked of it.

    ``contract_sha256`` is the definition of the observation that it was trained on, ``mandate`` what
    the account that it was trained for may trade. Probabilities that look at the context are told the
    session's regime.
    """

    champion: Champion
    probabilities: Probabilities
    contract: str
    contract_sha256: str
    mandate: Mandate = DAILY_MANDATE

    @classmethod
    def refusing(
        cls,
        champion: Champion,
        error: ModelError,
        contract: ObservationContract,
        mandate: Mandate = DAILY_MANDATE,
    ) -> ChampionPolicy:
        """A champion that cannot be asked: its file is lost or broken, or the registry is away."""

        def refuse(*_observation_and_mask: object) -> npt.NDArray[np.float64]:
            raise error

        return cls(champion, refuse, contract.name, contract.sha256, mandate)


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
    def actions(self) -> ActionMap:
        """What the numbers of decisions mean."""
        return self.config.actions

    @property
    def pricing(self) -> Pricing:
        """What the signal's legs are chosen and priced by."""
        return Pricing(self.costs, self.rules, self.config)


@dataclass(frozen=True)
class _Answer:
    """What the model wants, or why it was not asked or not understood."""

    action: int
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
    answer, actions = _ask(market, account, policy, desk), desk.actions
    setup = _setup(answer.action, market, account, desk)
    if setup is None:
        unpriced = f"not_priced: {actions.structure(answer.action)}"
        answer, setup = _hold(answer, actions.hold, unpriced), NO_SETUP
    proposal = Proposal(
        action_name=actions.names[answer.action],
        confidence=answer.confidence,
        requirement=setup.requirement,
    )
    flags = (*conditions.quality_flags, *_flags(market.row))
    conditions = replace(conditions, quality_flags=tuple(dict.fromkeys(flags)))
    verdict = assess(proposal, account.state, conditions, desk.limits)
    action = answer.action if verdict.allowed else actions.hold
    if not verdict.allowed:
        setup = NO_SETUP
    size = setup.units if action == actions.close else verdict.size
    decided = _Decided(answer, action, setup, verdict, size)
    signal = _assemble(market, policy, desk, decided, calibration, account.state)
    circumstances = {
        "lake_snapshot": lake_snapshot,
        "settings_digest": settings_digest,
        "mandate": str(desk.config.mandate),
    }
    return signal.model_copy(update=circumstances)


def _ask(
    market: MarketInput, account: AccountInput, policy: ChampionPolicy | None, desk: Desk
) -> _Answer:
    hold, shown = desk.actions.hold, _shown(market.row, account.portfolio, desk.contract)

    def unasked(reason: str) -> _Answer:
        return _Answer(hold, observation=shown, reasons=(reason,))

    if policy is None:
        return unasked("no_model_yet")
    unfit = _unfit(policy, desk)
    if unfit is not None:
        return unasked(unfit)
    missing = _missing(market, desk.contract)
    if missing:
        return unasked(f"missing_input: {', '.join(missing)}")
    try:
        observation = build_observation(market.row or {}, account.portfolio, desk.contract)
        context = DecisionContext(market.regime)
        said = ask(policy.probabilities, observation, account.mask, context)
        action = choose_action(said.probabilities, account.mask)
    except IncompleteObservation as error:
        return unasked(f"missing_input: {', '.join(error.reasons)}")
    except ModelError as error:
        cause = _MODEL_CAUSES.get(type(error), "model_error")
        return unasked(f"{cause}: {error.message}")
    names = desk.actions.names
    named = dict(zip(names, map(float, said.probabilities), strict=True))
    why = f"policy: {names[action]} is the most probable allowed action"
    if said.abstention is not None:
        why = _abstention_words(said.abstention, names)
    seen = tuple(map(float, observation))
    # The HOLD of an abstention is a rule's, whose probability of one is nobody's confidence.
    confidence = None if said.abstained else float(said.probabilities[action])
    return _Answer(action, True, confidence, named, seen, (why,), said.abstained)


def _abstention_words(why: Abstention, names: Sequence[str]) -> str:
    wanted = names[why.proposed]
    if why.tied:
        return f"abstained: the members' vote ties {wanted} with another action"
    return (
        f"abstained: members disagree, {why.agreement:.2f} of {why.needed:.2f} weight "
        f"wanted {wanted}"
    )


def _unfit(policy: ChampionPolicy, desk: Desk) -> str | None:
    """Why a policy must not be asked at this desk: another observation, or another mandate."""
    own, mandate = desk.contract, desk.config.mandate
    if (policy.contract, policy.contract_sha256) != (own.name, own.sha256):
        detail = f"model has {policy.contract} {policy.contract_sha256[:12]}, features have "
        return f"contract_mismatch: {detail}{own.name} {own.sha256[:12]}"
    if policy.mandate != mandate:
        trained, own_text = policy.mandate.beside(mandate), mandate.beside(policy.mandate)
        return f"mandate_mismatch: model was trained for {trained}, account is {own_text}"
    return None


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
    actions = desk.actions
    if action == actions.hold or (action == actions.close and not account.held):
        return NO_SETUP
    if market.spot is None or market.vix is None or market.rate is None:
        return None
    moment = Moment(market.session, market.spot, market.vix, market.rate)
    if action == actions.close:
        return closing_setup(account.held, moment, desk.pricing)
    return entry_setup(actions.openings[action], moment, desk.pricing)


def _hold(answer: _Answer, hold: int, reason: str) -> _Answer:
    return replace(answer, action=hold, asked=False, confidence=None, reasons=(reason,))


def _assemble(
    market: MarketInput,
    policy: ChampionPolicy | None,
    desk: Desk,
    decided: _Decided,
    calibration: Calibration | None,
    state: AccountState,
) -> Signal:
    answer, action, setup = decided.answer, decided.action, decided.setup
    actions, names = desk.actions, desk.actions.names
    confidence, kind = _confidence(answer, calibration, actions.hold)
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
        action_name=names[action],
        requested_action=names[answer.action] if answer.asked else None,
        structure=actions.structure(action),
        display_symbol=_display_symbol(setup, market),
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
        reasons=_reasons(answer, decided.verdict, action, desk, state),
        risk=decided.verdict,
        quality_flags=_flags(market.row),
        notices=_notices(market, champion),
        state_vector=answer.observation,
    )


def _display_symbol(setup: Setup, market: MarketInput) -> str:
    """The positions' symbols with the root as it is shown."""
    shown = setup.display_symbol.split(AND)
    return AND.join(one.replace(market.symbol, market.display_name, 1) for one in shown)


def _confidence(
    answer: _Answer, calibration: Calibration | None, hold: int
) -> tuple[float | None, ConfidenceKind]:
    """Give the confidence that is shown, and what it is; only entries have a profit to be sure of."""
    if not answer.asked or answer.confidence is None:
        return None, "none"
    if calibration is None or answer.action >= hold:
        return answer.confidence, "masked_policy_probability"
    return calibration(answer.confidence), "calibrated"


def _reasons(
    answer: _Answer, verdict: RiskVerdict, action: int, desk: Desk, state: AccountState
) -> tuple[str, ...]:
    """Why: the model's part first, unless a risk rule overruled it; then every failed rule.

    An account that may hold several positions says how many it holds.
    """
    failed = tuple(f"{rule.rule}: {rule.detail}" for rule in verdict.rules if not rule.passed)
    own = answer.reasons
    most = desk.config.max_positions
    held = (f"positions: {state.open_positions} open of {most}",) if most > 1 else ()
    overruled = answer.asked and action != answer.action
    return (failed + own if overruled else own + failed) + held


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
