"""Every knob of the system, typed, from the environment (prefix ``SPY_``) or a ``.env`` file.

Nested settings take two underscores: ``SPY_HTTP__TIMEOUT_S=5``; lists take commas, or JSON. A wrong
value, or a name that does not exist, is reported together with all the others, with what is allowed and
the nearest name.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from spy_assets import sessions
from spy_assets.errors import ConfigError

PREFIX = "SPY_"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
#: The file that is read beside the environment; ``SPY_ENV_FILE`` names another one.
ENV_FILE = ".env"
#: A setting whose name has one of these words is never shown, not even when its name is wrong.
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "WEBHOOK", "CATALOGUE")

SourceName = Literal["sample", "files", "yfinance"]
ObservationName = Literal["daily_15_proxy_v1", "daily_15_chain_v1"]
SplitName = Literal["s0", "expanding", "yearly", "yearly_expanding"]
ActionsName = Literal[
    "daily_7", "defined_risk", "defined_risk_by_dte", "all_structures", "all_structures_by_dte"
]
ChainSourceName = Literal[
    "none", "cboe", "yahoo", "polygon", "flat_files", "tradier", "alpaca", "thetadata", "files"
]
#: The secrets that a source of chains asks for.
CHAIN_SECRETS: dict[str, tuple[str, ...]] = {
    "polygon": ("polygon_api_key",),
    "flat_files": ("flat_files_key_id", "flat_files_secret"),
    "tradier": ("tradier_token",),
    "alpaca": ("alpaca_key_id", "alpaca_secret"),
}
#: First and last year of each source's history. ``None``: up to the present year.
SPANS: dict[str, tuple[int, int | None]] = {
    "sample": (1999, 2018),
    "files": (1993, 2024),
    "yfinance": (2010, None),
}
#: The sample's volatility index begins in 2014, and its indicators need a year of it.
_WALK_STARTS: dict[str, date] = {"sample": date(2015, 1, 1)}
#: Source and length of its bars -> first and last day that a walk-forward over minute bars takes by
#: default. The sample bridges any day; the files are those that docs/files-source.md describes.
_MINUTE_SPANS: dict[tuple[str, int], tuple[date, date]] = {
    ("sample", 1): (date(2017, 1, 1), date(2018, 12, 31)),
    ("sample", 5): (date(2017, 1, 1), date(2018, 12, 31)),
    ("files", 1): (date(2024, 3, 26), date(2024, 12, 31)),
    ("files", 5): (date(2018, 1, 1), date(2020, 12, 31)),
}
HISTORICAL_SOURCES = frozenset(name for name, (_, last) in SPANS.items() if last is not None)
#: A profile is a folder, and in Postgres a schema.
PROFILE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"

#: ETFs, crypto and indices of the inventory (S3-37, S3-39), in one daily table.
DEFAULT_SYMBOLS: tuple[str, ...] = (
    "SPY", "QQQ", "IWM", "RSP", "SMH", "TLT", "IEF", "SHY", "HYG", "LQD", "USO", "GLD", "EFA",
    "XLK", "XLF", "XLE", "XLY", "XLP", "XLV", "XLI", "XLU", "XLB", "XLRE", "XLC", "SOXX", "UUP",
    "UVXY",
    "BTC-USD", "ETH-USD", "^GSPC", "^NDX",
)  # fmt: skip


def _listed(value: Any) -> Any:
    """Names out of text with commas; text that looks like a list was no JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        raise ValueError("no JSON list; write names separated by commas, without brackets")
    return tuple(part.strip() for part in value.split(",") if part.strip())


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpSettings(_Group):
    """How vendors are asked."""

    timeout_s: float = Field(20.0, gt=0, description="time-out of one request, seconds")
    max_attempts: int = Field(5, ge=1, le=20, description="attempts before a request is given up")
    backoff_s: float = Field(
        1.0, ge=0, description="first pause between attempts, seconds; doubled"
    )
    max_backoff_s: float = Field(60.0, ge=0, description="longest pause between attempts, seconds")
    budget: int = Field(500, ge=1, description="requests that one run may make, retries included")
    fred_url: str = Field("https://fred.stlouisfed.org", description="base address of FRED")
    yahoo_url: str | None = Field(
        None, description="other host to send Yahoo's requests to (tests)"
    )


class TrainSettings(_Group):
    """How the daily policy is trained."""

    preset: Literal["sample", "quick", "full", "seed", "fast", "a2c", "dqn"] = Field(
        "sample", description="training preset"
    )
    timesteps: int | None = Field(None, ge=1, description="overrides the preset's timesteps")
    seeds: int | None = Field(None, ge=1, le=50, description="overrides the preset's seed count")
    actions: ActionsName = Field(
        "daily_7",
        description="what the policy may open: daily_7, defined_risk (every structure with a bounded "
        "loss), all_structures (uncovered ones too); with _by_dte in three ranges of days to expiry",
    )
    symbols: tuple[str, ...] = Field(
        ("SPY", "QQQ"),
        min_length=2,
        description="symbols of the policy for several, by commas or as JSON; of the sample only SPY",
    )
    holdout_sessions: int = Field(60, ge=1, description="last sessions kept out of training")
    validation_sessions: int = Field(63, ge=10, description="window of the promotion gate")
    purge_sessions: int = Field(
        6, ge=0, description="gap after training; at least the longest hold"
    )
    max_age_sessions: int = Field(
        189,
        ge=1,
        description="sessions after the end of training from which on a model opens no position; "
        "validation, purge and hold-out count",
    )

    _split = field_validator("symbols", mode="before")(_listed)


class WalkSettings(_Group):
    """How the walk-forward cuts history; how long it trains is as for the daily policy."""

    preset: SplitName = Field(
        "s0",
        description="windows of the walk-forward: s0 (504/63/63 sessions), expanding, yearly or "
        "yearly_expanding",
    )
    start: date | None = Field(
        None, description="first training session; a year after the source's data begin by default"
    )
    final_from: date | None = Field(
        None,
        description="first day of the final period, which is in no fold; the source's last year by "
        "default",
    )
    purge_sessions: int | None = Field(
        None,
        ge=0,
        description="sessions between training and test; the longest holding time plus the fill delay "
        "by default, and never less",
    )
    embargo_sessions: int = Field(5, ge=0, description="sessions beyond the purge")
    groups: int = Field(
        6, ge=3, le=12, description="groups of sessions of the combinatorial cross-validation"
    )
    test_groups: int = Field(2, ge=2, description="how many of them are tested at a time")


def _whole(value: Any) -> Any:
    """The number that digits say; anything else stays what it is, to be refused."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


class IntradaySettings(_Group):
    """The walk-forward of the short-premium plan over minute bars; options are priced by a model."""

    minutes: Annotated[Literal[1, 5], BeforeValidator(_whole)] = Field(
        5, description="length of the bars that the short-premium plan is walked over: 1 or 5"
    )
    actions: Annotated[Literal[3, 5], BeforeValidator(_whole)] = Field(
        5, description="actions of its policy: 3 (hold, sell) or 5 (two deltas of puts, and close)"
    )
    plan: Literal["reduced", "original"] = Field(
        "reduced",
        description="its sizes and deltas: reduced (at most 20 contracts) or original (30)",
    )
    naked: bool = Field(False, description="sell options alone instead of spreads of $5")
    start: date | None = Field(
        None, description="first session of minute bars to train on; the source's own by default"
    )
    end: date | None = Field(
        None, description="last session of minute bars to test on; the source's own by default"
    )
    train_sessions: int = Field(252, ge=5, description="sessions of each training over minute bars")
    test_sessions: int = Field(63, ge=2, description="sessions of each test over minute bars")
    embargo_sessions: int = Field(
        5, ge=0, description="sessions between them, beyond a purge of one"
    )
    timesteps: int | None = Field(
        None, ge=1, description="environment steps per seed over minute bars; a million by default"
    )
    seeds: int | None = Field(
        None, ge=1, le=50, description="seeds over minute bars; three by default"
    )


class RiskSettings(_Group):
    """Limits on entries; exits are never blocked."""

    capital: float = Field(10_000.0, gt=0, description="paper account at the start, dollars")
    risk_fraction: float = Field(0.02, gt=0, le=1, description="share of capital at risk per trade")
    max_contracts: int = Field(10, ge=1, description="most contracts per trade")
    max_positions: int = Field(
        1, ge=1, le=20, description="positions open at once; CLOSE closes all of them"
    )
    allow_naked: bool = Field(
        False, description="allow uncovered short options, which set Reg-T margin aside"
    )
    short_puts: Literal["cash_secured", "reg_t"] = Field(
        "cash_secured",
        description="what an uncovered short put sets aside: its strike in cash, or Reg-T margin",
    )
    max_drawdown: float = Field(0.10, gt=0, le=1, description="drawdown that halts trading")
    min_confidence: float = Field(0.0, ge=0, le=1, description="least confidence of an entry")
    max_staleness_sessions: int = Field(1, ge=0, description="age of data that still may be used")
    max_clock_skew_s: float = Field(2.0, gt=0, description="clock difference that holds signals")


class PromotionSettings(_Group):
    """When a challenger becomes champion."""

    bootstrap: bool = Field(
        True,
        description="seat an unproven model on a vacant seat, for paper signals, if it is not "
        "significantly worse than cash; every signal of it says that it is unproven",
    )
    min_trades: int = Field(10, ge=1, description="least trades in the validation window")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of the bootstrap intervals")


class LiveSettings(_Group):
    """What live runs check before they trust the clock."""

    clock_url: str | None = Field(
        None, description="server whose HTTP Date the clock is held against"
    )


class ChainSettings(_Group):
    """Where option chains come from; docs/chains.md says what each vendor gives."""

    source: ChainSourceName | None = Field(
        None,
        description="where option chains come from: none, cboe, yahoo, polygon, flat_files, tradier, "
        "alpaca, thetadata or files; by default the files source's own chains/ folder, else none",
    )
    symbols: tuple[str, ...] | None = Field(
        None, description="underlyings of the chains, by commas or as JSON; SPY_SYMBOL by default"
    )
    model_chain: bool = Field(
        False,
        description="price a chain from the volatility indices, labelled surface, for sessions "
        "without a real one",
    )
    cboe_url: str = Field("https://cdn.cboe.com", description="base address of CBOE's quotes")
    polygon_url: str = Field("https://api.massive.com", description="base address of Massive")
    flat_files_url: str = Field(
        "https://files.massive.com", description="S3 endpoint of the flat files"
    )
    flat_files_bucket: str = Field("flatfiles", description="S3 bucket of the flat files")
    tradier_url: str = Field("https://api.tradier.com", description="base address of Tradier")
    alpaca_url: str = Field(
        "https://data.alpaca.markets", description="base address of Alpaca's data"
    )
    alpaca_trading_url: str = Field(
        "https://paper-api.alpaca.markets", description="where Alpaca is asked for open interest"
    )
    alpaca_feed: Literal["indicative", "opra"] = Field(
        "indicative", description="Alpaca's option feed; opra needs a subscription"
    )
    thetadata_url: str = Field(
        "http://127.0.0.1:25503", description="where the Theta Terminal listens"
    )

    @field_validator("symbols", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        names = _listed(value)
        if not isinstance(names, list | tuple):
            return names
        odd = [name for name in names if not isinstance(name, str) or set("|[],") & set(name)]
        if odd:
            raise ValueError(f"names without | [ ] or a comma; not {', '.join(map(repr, odd))}")
        return tuple(dict.fromkeys(names)) or None


def _json_or_text(value: Any) -> Any:
    """What JSON says; text that is none stays text, for validation to judge with all the rest."""
    try:
        return json.loads(value)
    except ValueError:
        return value


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:  # noqa: ARG002
        return _json_or_text(value)


class _EnvFile(DotEnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:  # noqa: ARG002
        return _json_or_text(value)


class Settings(BaseSettings):
    """All settings. Paths are made absolute against ``home``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True
    )

    source: SourceName = Field("sample", description="where market data comes from")
    profile: str | None = Field(
        None, pattern=PROFILE_PATTERN, description="name of the data root; the source's by default"
    )
    home: Path = Field(PROJECT_ROOT, description="folder that holds .spy/ and mlruns/")
    catalogue: SecretStr | None = Field(
        None, description="postgresql://… of the lake's catalogue; an SQLite file by default"
    )
    lake_url: str | None = Field(None, description="where data files go; a local folder by default")
    files_dir: Path | None = Field(None, description="root of the files source")
    calendar_overrides: Path | None = Field(None, description="CSV of unscheduled closures")
    symbol: str = Field("SPY", description="the traded underlying")
    symbols: tuple[str, ...] = Field(
        DEFAULT_SYMBOLS, description="symbols of the daily table, by commas or as JSON"
    )
    as_of: date | None = Field(None, description="session to decide for; the last one by default")
    start_year: int | None = Field(None, ge=1990, le=2045, description="first year partition")
    signal_sessions: int = Field(60, ge=1, description="sessions that `spy run` signals on")
    costs: Literal["rltrade", "spymaster", "tradier", "alpaca"] = Field(
        "rltrade", description="cost preset where no quotes exist"
    )
    spreads: Literal["constant", "model"] = Field(
        "constant",
        description="half spread where no quotes exist: the cost preset's constant, or the model "
        "fitted to real chains; fills say which",
    )
    fill: Literal["next_open", "next_close"] = Field("next_open", description="when orders fill")
    lock_timeout_s: float = Field(600.0, gt=0, description="longest wait for the write lock")
    sql_timeout_s: float = Field(30.0, gt=0, description="time-out of `spy sql`")
    sql_row_limit: int = Field(1_000, ge=1, description="row limit of `spy sql`")
    alert_webhook: SecretStr | None = Field(None, description="address that gets alerts as JSON")
    fred_api_key: SecretStr | None = Field(None, description="optional key of the FRED API")
    polygon_api_key: SecretStr | None = Field(None, description="key of Massive (Polygon) chains")
    flat_files_key_id: SecretStr | None = Field(
        None, description="S3 key id of Massive's flat files"
    )
    flat_files_secret: SecretStr | None = Field(
        None, description="S3 secret of Massive's flat files"
    )
    tradier_token: SecretStr | None = Field(None, description="token of Tradier chains")
    alpaca_key_id: SecretStr | None = Field(None, description="key id of Alpaca chains")
    alpaca_secret: SecretStr | None = Field(None, description="secret of Alpaca chains")
    http: HttpSettings = HttpSettings()
    observation: ObservationName = Field(
        "daily_15_proxy_v1",
        description="observation contract that models are trained on; a trained model keeps its own",
    )
    train: TrainSettings = TrainSettings()
    walk: WalkSettings = WalkSettings()
    intraday: IntradaySettings = IntradaySettings()
    risk: RiskSettings = RiskSettings()
    promotion: PromotionSettings = PromotionSettings()
    live: LiveSettings = LiveSettings()
    chains: ChainSettings = ChainSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, ``.env``; a value that is no JSON is judged like any other."""
        file = getattr(dotenv_settings, "env_file", None)
        return init_settings, _Environment(settings_cls), _EnvFile(settings_cls, env_file=file)

    _split = field_validator("symbols", mode="before")(_listed)

    @field_validator("home", "files_dir", "calendar_overrides")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value is not None else None

    @property
    def profile_name(self) -> str:
        """The profile; by default the source's name, so that two sources never mix."""
        return self.profile or self.source

    @property
    def historical(self) -> bool:
        """Whether the source ends in the past, so that live schedules have nothing to do."""
        return self.source in HISTORICAL_SOURCES

    @property
    def first_year(self) -> int:
        """The first year partition."""
        return self.start_year or SPANS[self.source][0]

    @property
    def last_day(self) -> date | None:
        """The day with which a historical source ends, or None for a live one."""
        year = SPANS[self.source][1]
        return None if year is None else date(year, 12, 31)

    @property
    def walk_start(self) -> date:
        """The first day that a walk-forward trains on: indicators are complete a year after the data."""
        year_later = date(self.first_year + 1, 1, 1)
        return self.walk.start or max(year_later, _WALK_STARTS.get(self.source, year_later))

    @property
    def minute_span(self) -> tuple[date | None, date | None]:
        """First and last day of a walk-forward over minute bars; None where only settings can say it.

        Without a last day it ends with the last session that is decided.
        """
        own = self.intraday
        first, last = _MINUTE_SPANS.get((self.source, own.minutes), (None, None))
        return own.start or first, own.end or last

    @property
    def chain_source(self) -> str | None:
        """The source of option chains; of the files source the folder's own, where it has some."""
        if self.chains.source is not None:
            return None if self.chains.source == "none" else self.chains.source
        own = self.files_dir if self.source == "files" else None
        return "files" if own is not None and (own / "chains").is_dir() else None

    @property
    def chain_symbols(self) -> tuple[str, ...]:
        """The underlyings whose chains are kept; the traded one by default."""
        return self.chains.symbols or (self.symbol,)

    @property
    def clock_server(self) -> str | None:
        """The server that the clock is held against; of a live source without one, its rates vendor."""
        return self.live.clock_url or (None if self.historical else self.http.fred_url)

    @property
    def root(self) -> Path:
        """The profile's data root."""
        return self.home / ".spy" / self.profile_name

    @property
    def lake_dir(self) -> str:
        """Where the lake's data files are: a folder, or an object store's address."""
        return self.lake_url or str(self.root / "lake")

    @property
    def catalogue_dsn(self) -> str | None:
        """The catalogue's address with its password; None for the SQLite file. Never to be shown."""
        return self.catalogue.get_secret_value() if self.catalogue is not None else None

    @property
    def catalogue_path(self) -> Path:
        """The SQLite catalogue; unused when ``catalogue`` names a Postgres."""
        return self.root / "catalogue.sqlite"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of the profile."""
        return self.root / "dagster"

    @property
    def numba_cache(self) -> Path:
        """Where compiled kernels are cached."""
        return self.root / "numba"

    @property
    def mlruns_dir(self) -> Path:
        """MLflow's database and artifacts, for all profiles."""
        return self.home / "mlruns"

    @property
    def kill_file(self) -> Path:
        """Trading halts while this file exists."""
        return self.root / "KILL"

    @property
    def resume_file(self) -> Path:
        """Dated lines in it end a drawdown halt; see :class:`spy_assets.signals.risk.Watermark`."""
        return self.root / "RESUME"


#: Fields that must not be stored or shown.
SECRETS = {
    name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)
}


def _fields() -> Iterator[tuple[str, str, Any]]:
    """Environment variable, description and default of every setting, in order."""
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, _Group):
            for inner, spec in annotation.model_fields.items():
                variable = f"{PREFIX}{name}__{inner}".upper()
                yield variable, spec.description or "", spec.default
        else:
            yield f"{PREFIX}{name}".upper(), field.description or "", field.default


def known_names() -> dict[str, str]:
    """Every environment variable that the settings read, with its description."""
    return {name: description for name, description, _ in _fields()}


def example_env() -> str:
    """The text of ``.env.example``: every setting with its default, as a comment each.

    Written by ``python -m spy_assets.settings > .env.example``.
    """
    lines = ["# Every setting, with its default. Copy to .env and uncomment what you change."]
    for name, description, default in _fields():
        if default is None or default == PROJECT_ROOT:  # the folder differs by machine
            shown = ""
        elif isinstance(default, bool | tuple):
            shown = json.dumps(default)
        else:
            shown = str(default)
        lines += [f"# {description}", f"# {name}={shown}"]
    return "\n".join(lines) + "\n"


def without_password(text: str) -> str:
    """``text`` with ``***`` for the password of every address in it.

    >>> without_password("no answer from postgresql://me:pw@host/db?sslmode=require")
    'no answer from postgresql://me:***@host/db?sslmode=require'
    """
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(\bpassword=)[^&\s]+", r"\1***", text)


def _shown(name: str, value: Any) -> str:
    """A value for a message; secrets are hidden, also where only the nearest name says it is one."""
    near = difflib.get_close_matches(name, known_names(), n=1, cutoff=0.0)
    if any(word in text for word in _SECRET_WORDS for text in (name, *near)):
        return "'***'"
    return without_password(repr(value))


def _unknown_names(environment: Mapping[str, str | None]) -> list[str]:
    known = known_names()
    groups = {name.split("__")[0] for name in known if "__" in name}
    lines = []
    for name in sorted(environment):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known or upper in groups:
            continue
        if upper.startswith("SPY_DBT_") or upper == "SPY_ENV_FILE":  # set by us for the dbt profile
            continue
        near = difflib.get_close_matches(upper, [*known, *groups], n=1, cutoff=0.0)
        shown = _shown(upper, environment[name])
        lines.append(f"{name}={shown}: no such setting; nearest is {near[0]}")
    return lines


def _allowed(error: dict[str, Any]) -> str:
    context = error.get("ctx", {})
    if "expected" in context:
        return f"allowed: {context['expected']}"
    if error["type"] == "string_pattern_mismatch":
        return "allowed: letters, digits, _ and -, the first a letter or digit"
    if error["type"] == "model_type":
        group = f"{_name_of(error)}__"
        names = ", ".join(name for name in known_names() if name.startswith(group))
        return f"allowed: a JSON object; or set one by one: {names}"
    if error["type"] == "tuple_type":
        return "allowed: names separated by commas, or a JSON list"
    return str(error["msg"]).removeprefix("Value error, ")


def _name_of(error: dict[str, Any]) -> str:
    return PREFIX + "__".join(str(part) for part in error["loc"]).upper()


def _describe(error: dict[str, Any]) -> str:
    name, value = _name_of(error), error.get("input")
    text = f"{name}={_shown(name, value)}: {_allowed(error)}"
    expected = error.get("ctx", {}).get("expected")
    if expected and isinstance(value, str):
        options = [part.strip(" '") for part in str(expected).replace(" or ", ",").split(",")]
        near = difflib.get_close_matches(value, options, n=1, cutoff=0.0)
        text += f"; nearest is {near[0]!r}" if near else ""
    return text


def _days_out_of_range(settings: Settings, last: date, why: str) -> Iterator[str]:
    """Days and years that data do not have, which end with ``last``, or on which XNYS is closed."""
    start, day, first = settings.start_year, settings.as_of, date(settings.first_year, 1, 1)
    if start is not None and start > last.year:
        yield f"SPY_START_YEAR={start}: allowed: 1990 to {last.year} ({last}: {why})"
    elif day is not None and not first <= day <= last:
        yield f"SPY_AS_OF={day}: allowed: sessions from {first} to {last} ({why})"
    elif day is not None and not sessions.is_session(day):
        near = f"{sessions.previous_session(day)} and {sessions.next_session(day)}"
        yield f"SPY_AS_OF={day}: a {day:%A} on which XNYS is closed; nearest are {near}"


def _observes_chains(settings: Settings) -> bool:
    from spy_assets.features.contracts import get_contract

    return get_contract(settings.observation).needs_chain


def _naked(settings: Settings) -> Iterator[str]:
    """Uncovered short options that the settings do not allow."""
    from spy_assets.simulator.actions import action_map

    name = settings.train.actions
    naked = sorted(set(action_map(name).naked))
    if naked and not settings.risk.allow_naked:
        yield (
            f"SPY_TRAIN__ACTIONS={name!r}: has uncovered {', '.join(naked)}, which need "
            "SPY_RISK__ALLOW_NAKED=true"
        )


def _contradictions(settings: Settings) -> Iterator[str]:
    """Values that are fine by themselves and do not fit the others, the disk or the calendar.

    Sets the calendar, by which the rest is judged.
    """
    if settings.source == "files" and settings.files_dir is None:
        yield "SPY_FILES_DIR is not set, but SPY_SOURCE='files' reads from it"
    if settings.chains.source == "files" and settings.files_dir is None:
        yield "SPY_FILES_DIR is not set, but SPY_CHAINS__SOURCE='files' reads from it"
    if settings.symbol not in settings.chain_symbols and _observes_chains(settings):
        yield (
            f"SPY_CHAINS__SYMBOLS={','.join(settings.chain_symbols)}: lacks SPY_SYMBOL="
            f"{settings.symbol!r}, whose chains SPY_OBSERVATION={settings.observation!r} needs"
        )
    if settings.train.actions != "daily_7":
        yield from _naked(settings)
    for name in CHAIN_SECRETS.get(settings.chains.source or "", ()):
        if getattr(settings, name) is None:
            asked = f"SPY_CHAINS__SOURCE={settings.chains.source!r}"
            yield f"SPY_{name.upper()} is not set, but {asked} needs it"
    closures = settings.calendar_overrides
    try:
        sessions.install_overrides({} if closures is None else sessions.read_overrides(closures))
    except ConfigError as error:
        yield f"SPY_CALENDAR_OVERRIDES: {error.message}; {error.hint}"
    last = settings.last_day or sessions.CALENDAR_END
    why = "the calendar" if settings.last_day is None else f"source {settings.source!r}"
    yield from _days_out_of_range(settings, last, f"{why} ends")


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; keyword arguments win over the environment and ``.env``.

    The calendar is set with them: unscheduled closures hold from here on, in every process.

    Raises
    ------
    ConfigError
        Naming every wrong key and value at once, in the environment and in the file, what is
        allowed, and the nearest name. Values of secrets are hidden.
    """
    file = os.environ.get("SPY_ENV_FILE", ENV_FILE)
    given = {**(dotenv_values(file) if Path(file).is_file() else {}), **os.environ}
    problems = _unknown_names(given)
    settings = None
    try:
        settings = Settings(_env_file=file, **overrides)
        problems += _contradictions(settings)
    except ValidationError as error:
        told = {name.upper() for name in given}  # a wrong name among these is in the list already
        problems += [
            _describe(dict(item))
            for item in error.errors()
            if item["type"] != "extra_forbidden" or _name_of(dict(item)) not in told
        ]
    if problems or settings is None:
        raise _wrong(problems)
    return settings


def require_past(settings: Settings, now: datetime) -> None:
    """Refuse days of a live source that are still to come; what has ended is judged when it is read.

    Raises
    ------
    ConfigError
        Naming the setting and the last session that is decided.
    """
    last = sessions.last_decided_session(now)
    problems = list(_days_out_of_range(settings, last, "the last decided session"))
    if settings.last_day is None and problems:
        raise _wrong(problems)


def _wrong(problems: Sequence[str]) -> ConfigError:
    listing = "\n".join(f"  - {line}" for line in problems)
    file = os.environ.get("SPY_ENV_FILE", ENV_FILE)
    return ConfigError(
        f"{len(problems)} setting(s) are wrong:\n{listing}",
        hint=f"mend them in the environment or {file}; .env.example lists them all",
    )


if __name__ == "__main__":
    sys.stdout.write(example_env())
