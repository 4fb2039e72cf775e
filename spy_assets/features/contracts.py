"""Observation contracts: what each number that a policy sees means, written down once.

`daily_15_proxy_v1` has ten market dimensions, columns of the mart ``features.daily_15``, and five
portfolio dimensions, which come from the simulator's account or the ledger. The text below is the
definition: ``docs/features.md`` is rendered from it (:func:`render_markdown`), the SQL is tested
against it, and :attr:`ObservationContract.sha256` travels with every model, so that a model never
sees another definition than the one it was trained on.

"proxy" says that put/call, skew and gamma come from price and volume, not from option chains.
`daily_15_chain_v1` takes these three from the session's option chain (``features.chain``) under names
of their own, so that neither contract can be fed with the other's numbers: a session without a
chain is held. `intraday_8_v1` is seen at the end of every minute bar.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from spy_assets.errors import ContractMismatch


@dataclass(frozen=True)
class Dimension:
    """One number of an observation.

    Attributes
    ----------
    name
        Column name; lower-case.
    formula
        The value before it is bounded, in the words of ``features.market_daily``.
    scaling
        How it is mapped into ``[low, high]``.
    low, high
        Closed range of the final value.
    lookback
        Sessions (today included) that must be there; before that the value is null.
    null_when
        Reason id -> when it is given. The ids appear in the column ``quality`` as
        ``name:reason``, joined by ``;``.
    """

    name: str
    formula: str
    scaling: str
    low: float = 0.0
    high: float = 1.0
    lookback: int = 1
    null_when: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ObservationContract:
    """An ordered list of dimensions with an identity.

    The order is the order of the vector: market dimensions first, portfolio dimensions after.
    """

    name: str
    description: str
    market: tuple[Dimension, ...]
    portfolio: tuple[Dimension, ...]

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All dimensions in the order of the vector."""
        return self.market + self.portfolio

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the vector."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def market_names(self) -> tuple[str, ...]:
        """Names of the market dimensions, in order."""
        return tuple(dimension.name for dimension in self.market)

    @property
    def portfolio_names(self) -> tuple[str, ...]:
        """Names of the portfolio dimensions, in order."""
        return tuple(dimension.name for dimension in self.portfolio)

    @property
    def size(self) -> int:
        """Length of the observation."""
        return len(self.dimensions)

    @property
    def needs_chain(self) -> bool:
        """Whether any dimension comes from the session's option chain."""
        chain = {dimension.name for dimension in CHAIN_DIMENSIONS.values()}
        return not chain.isdisjoint(self.market_names)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole definition, as canonical JSON; any change of a word changes it."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


_WARMUP = ("warmup", "there are fewer bars than the lookback")
_FLAT = ("flat", "the price did not move over the lookback, so the ratio is 0/0")
_NO_VIX = ("vix_missing", "VIX has no close for the session")
_NO_VOLUME = ("no_volume", "the denominator's volume is zero, or volume is absent")

#: The exponent of the ``price`` dimension: ±10 % from the mean gives 0.62 and 0.37.
PRICE_EXPONENT = 5.0

_MARKET = (
    Dimension(
        "price",
        "x = close / SMA252(close), both forward-adjusted",
        "x^5 / (1 + x^5): scale-free, strictly increasing, never saturated; 0.5 at the mean",
        lookback=252,
        null_when=(_WARMUP,),
    ),
    Dimension(
        "rsi14",
        "Cutler's RSI: 100 * G / (G + L), G and L the simple means of the last 14 daily gains and"
        " losses of the adjusted close",
        "/ 100",
        lookback=15,
        null_when=(_WARMUP, _FLAT),
    ),
    Dimension(
        "macd_hist",
        "MACD(12,26) - EMA9 of it, adjusted closes, brought to the session's own dollars"
        " (multiplied by close_raw / close_adjusted of the same session); EMAs seeded by the simple"
        " mean of their first n values",
        "clip(x / 10 + 0.5, 0, 1)",
        lookback=34,
        null_when=(_WARMUP,),
    ),
    Dimension(
        "iv",
        "VIX close / 100 (annualised decimal)",
        "clip((x - 0.10) / 0.40, 0, 1)",
        null_when=(_NO_VIX,),
    ),
    Dimension(
        "iv_rank",
        "(VIX - min) / (max - min) over the last 252 VIX closes, today included",
        "none",
        lookback=252,
        null_when=(
            _NO_VIX,
            ("vix_warmup", "VIX has fewer than 252 closes up to the session"),
            ("flat", "VIX had one and the same close 252 times"),
        ),
    ),
    Dimension(
        "pcr",
        "volume of down days / volume of up days over the last 10 sessions; a day is up or down by"
        " its adjusted close, unchanged days count for neither",
        "clip(x / 3, 0, 1)",
        lookback=11,
        null_when=(_WARMUP, _NO_VOLUME),
    ),
    Dimension(
        "volume_surge",
        "volume / mean volume of the previous 20 sessions, today excluded from the mean",
        "clip(x / 5, 0, 1)",
        lookback=21,
        null_when=(_WARMUP, _NO_VOLUME),
    ),
    Dimension(
        "iv_skew",
        "down volatility - up volatility over the last 20 sessions; each is"
        " sqrt(252 / 20 * sum of squared log returns of that sign), annualised decimal",
        "clip(x / 0.40 + 0.5, 0, 1)",
        lookback=21,
        null_when=(_WARMUP,),
    ),
    Dimension(
        "gamma_proxy",
        "distance of the raw close to the nearest multiple of $5",
        "/ 5",
        high=0.5,
    ),
    Dimension(
        "mom5",
        "percent change of the adjusted close over 5 sessions",
        "clip(x / 10 + 0.5, 0, 1)",
        lookback=6,
        null_when=(_WARMUP,),
    ),
)

_PORTFOLIO = (
    Dimension("balance", "account value / initial capital", "clip(x / 2, 0, 1)"),
    Dimension("has_position", "1 if a position is open, else 0", "none"),
    Dimension(
        "position_type",
        "0 none, 0.2 long call, 0.4 long put, 0.5 bull spread, 0.6 bear spread, 0.8 iron condor",
        "none",
    ),
    Dimension(
        "unrealized_pnl",
        "open profit / entry cost (capital at risk for credits); 0 without a position",
        "clip(x + 0.5, 0, 1)",
    ),
    Dimension("holding_time", "sessions held / maximum holding (5 by default)", "clip(x, 0, 1)"),
)

#: The contract of the daily policy.
DAILY_15_PROXY_V1 = ObservationContract(
    name="daily_15_proxy_v1",
    description="Fifteen numbers after the close of a session: ten of the market, five of the"
    " account. Put/call, skew and gamma are proxies from price and volume.",
    market=_MARKET,
    portfolio=_PORTFOLIO,
)

_NO_CHAIN = ("no_chain", "the session has no chain that passed its checks")
_NO_EXPIRY = ("no_expiry", "no quoted expiries before and after 30 days")
_NO_STRIKES = ("no_strikes", "no quoted strikes on both sides of a delta of 0.25")
_NO_GAMMA = ("no_gamma", "less than 90 % of the open interest that has a bid has a gamma")

#: What `daily_15_chain_v1` has in place of the proxies: dimension of the proxy -> its own.
CHAIN_DIMENSIONS: dict[str, Dimension] = {
    "pcr": Dimension(
        "pcr_chain",
        "put volume / call volume of the session, all expiries of the option chain",
        "clip(x / 3, 0, 1)",
        null_when=(
            _NO_CHAIN,
            ("no_volume", "no call was traded, or the chain has no volume"),
            ("partial_volume", "less than 95 % of the calls or of the puts have a volume"),
        ),
    ),
    "iv_skew": Dimension(
        "iv_skew_chain",
        "implied volatility of the put with delta -0.25 less that of the call with delta 0.25, at"
        " 30 days, annualised decimal",
        "clip((x + 0.05) / 0.30, 0, 1)",
        null_when=(_NO_CHAIN, _NO_EXPIRY, _NO_STRIKES),
    ),
    "gamma_proxy": Dimension(
        "gamma_chain",
        "gamma exposure of strikes within 2 % of the spot over the same sum without signs; exposure"
        " is gamma * S^2 * open interest * 100, calls -, puts +",
        "(x + 1) / 2",
        null_when=(
            _NO_CHAIN,
            _NO_GAMMA,
            ("no_open_interest", "the chain has no open interest"),
            ("partial_open_interest", "less than 95 % of the calls or of the puts have one"),
        ),
    ),
}

#: The contract of a daily policy that sees the option chain.
DAILY_15_CHAIN_V1 = ObservationContract(
    name="daily_15_chain_v1",
    description="Fifteen numbers after the close of a session: ten of the market, five of the"
    " account. Put/call, skew and gamma come from the session's option chain.",
    market=tuple(CHAIN_DIMENSIONS.get(dimension.name, dimension) for dimension in _MARKET),
    portfolio=_PORTFOLIO,
)

#: P&L per contract beyond this many hundred dollars is cut off.
INTRADAY_PNL_BOUND = 100.0

#: The contract of the short-premium policies (S1-01).
INTRADAY_8_V1 = ObservationContract(
    name="intraday_8_v1",
    description="Eight numbers at the end of a bar: five of the market, three of the account.",
    market=(
        Dimension("minutes_since_open", "minutes of the session that have passed", "/ 390"),
        Dimension("spot", "close of the bar in dollars", "/ 500", high=4.0),
        Dimension(
            "atm_iv",
            "implied volatility at the money of today's expiry on the surface, decimal",
            "none",
            high=3.0,
            null_when=(("vix_missing", "VIX has no close for the session before"),),
        ),
        Dimension(
            "risk_score",
            "larger of (VIX - 12) / 18 and |ln(spot / first price of the session)| over two daily"
            " standard deviations of VIX",
            "clip(x, 0, 1)",
            null_when=(("vix_missing", "VIX has no close for the session before"),),
        ),
        Dimension("minutes_to_close", "minutes of the session that are left", "/ 390"),
    ),
    portfolio=(
        Dimension("has_position", "1 if anything is open, else 0", "none"),
        Dimension(
            "pnl",
            "open P&L after costs so far, dollars per contract sold",
            "clip(x / 100, -100, 100)",
            low=-INTRADAY_PNL_BOUND,
            high=INTRADAY_PNL_BOUND,
        ),
        Dimension("time_in_position", "minutes since the oldest open fill", "/ 390"),
    ),
)

CONTRACTS: dict[str, ObservationContract] = {
    contract.name: contract for contract in (DAILY_15_PROXY_V1, DAILY_15_CHAIN_V1, INTRADAY_8_V1)
}


def get_contract(name: str) -> ObservationContract:
    """Look a contract up by its name.

    Raises
    ------
    ContractMismatch
        If this version of the program does not know it.
    """
    try:
        return CONTRACTS[name]
    except KeyError:
        raise ContractMismatch(
            f"unknown observation contract {name!r}; known: {', '.join(CONTRACTS)}",
            hint="train the model again with this version, or install the version that made it",
        ) from None


def require_same(expected_sha256: str, contract: ObservationContract = DAILY_15_PROXY_V1) -> None:
    """Refuse to go on if a model was trained with another definition of ``contract``.

    Raises
    ------
    ContractMismatch
        With both hashes.
    """
    if expected_sha256 != contract.sha256:
        raise ContractMismatch(
            f"contract {contract.name} has hash {contract.sha256}, the model expects"
            f" {expected_sha256}",
            hint="train the model again, or install the version that made it",
        )


def render_markdown(contract: ObservationContract = DAILY_15_PROXY_V1) -> str:
    """Render the contract as the Markdown table of ``docs/features.md``."""
    lines = [
        f"### `{contract.name}`",
        "",
        contract.description,
        "",
        f"SHA-256 of the definition: `{contract.sha256}`",
        "",
        "| # | name | value | scaled | range | sessions needed | null (reason: when) |",
        "|---|---|---|---|---|---|---|",
    ]
    for index, dimension in enumerate(contract.dimensions):
        reasons = "; ".join(f"`{reason}`: {when}" for reason, when in dimension.null_when)
        formula = dimension.formula.replace("|", "\\|")
        lines.append(
            f"| {index} | `{dimension.name}` | {formula} | {dimension.scaling} |"
            f" [{dimension.low:g}, {dimension.high:g}] | {dimension.lookback} |"
            f" {reasons or 'never'} |"
        )
    return "\n".join(lines) + "\n"
