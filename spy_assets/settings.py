"""Every knob of the system, typed, from the environment (prefix ``SPY_``) or a ``.env`` file.

Nested settings take two underscores: ``SPY_HTTP__TIMEOUT_S=5``. A wrong value, or a name that does not
exist, is reported together with all the others, with what is allowed and the nearest name.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from spy_assets.errors import ConfigError

PREFIX = "SPY_"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
#: The file that is read beside the environment; ``SPY_ENV_FILE`` names another one.
ENV_FILE = ".env"
#: A setting whose name has one of these words is never shown, not even when its name is wrong.
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "WEBHOOK", "CATALOGUE")

SourceName = Literal["sample", "files", "yfinance"]
HISTORICAL_SOURCES: frozenset[str] = frozenset({"sample", "files"})

#: ETFs, crypto and indices of the inventory (S3-37, S3-39), in one daily table.
DEFAULT_SYMBOLS: tuple[str, ...] = (
    "SPY", "QQQ", "IWM", "RSP", "SMH", "TLT", "IEF", "SHY", "HYG", "LQD", "USO", "GLD", "EFA",
    "XLK", "XLF", "XLE", "XLY", "XLP", "XLV", "XLI", "XLU", "XLB", "XLRE", "XLC", "SOXX",
    "BTC-USD", "ETH-USD", "^GSPC", "^NDX",
)  # fmt: skip


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

    preset: Literal["sample", "quick", "full", "seed"] = Field("sample", description="PPO preset")
    timesteps: int | None = Field(None, ge=1, description="overrides the preset's timesteps")
    seeds: int | None = Field(None, ge=1, le=50, description="overrides the preset's seed count")
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


class RiskSettings(_Group):
    """Limits on entries; exits are never blocked."""

    capital: float = Field(10_000.0, gt=0, description="paper account at the start, dollars")
    risk_fraction: float = Field(0.02, gt=0, le=1, description="share of capital at risk per trade")
    max_contracts: int = Field(10, ge=1, description="most contracts per trade")
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


class Settings(BaseSettings):
    """All settings. Paths are made absolute against ``home``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True
    )

    source: SourceName = Field("sample", description="where market data comes from")
    profile: str | None = Field(None, description="name of the data root; the source's by default")
    home: Path = Field(PROJECT_ROOT, description="folder that holds .spy/ and mlruns/")
    catalogue: SecretStr | None = Field(
        None, description="postgresql://… of the lake's catalogue; an SQLite file by default"
    )
    lake_url: str | None = Field(None, description="where data files go; a local folder by default")
    files_dir: Path | None = Field(None, description="root of the files source")
    calendar_overrides: Path | None = Field(None, description="CSV of unscheduled closures")
    symbol: str = Field("SPY", description="the traded underlying")
    symbols: tuple[str, ...] = Field(DEFAULT_SYMBOLS, description="symbols of the daily table")
    as_of: date | None = Field(None, description="session to decide for; the last one by default")
    start_year: int | None = Field(None, ge=1990, le=2045, description="first year partition")
    signal_sessions: int = Field(60, ge=1, description="sessions that `spy run` signals on")
    costs: Literal["rltrade", "spymaster", "tradier", "alpaca"] = Field(
        "rltrade", description="cost preset where no quotes exist"
    )
    fill: Literal["next_open", "next_close"] = Field("next_open", description="when orders fill")
    lock_timeout_s: float = Field(600.0, gt=0, description="longest wait for the write lock")
    sql_timeout_s: float = Field(30.0, gt=0, description="time-out of `spy sql`")
    sql_row_limit: int = Field(1_000, ge=1, description="row limit of `spy sql`")
    alert_webhook: SecretStr | None = Field(None, description="address that gets alerts as JSON")
    fred_api_key: SecretStr | None = Field(None, description="optional key of the FRED API")
    http: HttpSettings = HttpSettings()
    train: TrainSettings = TrainSettings()
    risk: RiskSettings = RiskSettings()
    promotion: PromotionSettings = PromotionSettings()
    live: LiveSettings = LiveSettings()

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
        near = difflib.get_close_matches(upper, known, n=1, cutoff=0.0)
        shown = _shown(upper, environment[name])
        lines.append(f"{name}={shown}: no such setting; nearest is {near[0]}")
    return lines


def _allowed(error: dict[str, Any]) -> str:
    context = error.get("ctx", {})
    if "expected" in context:
        return f"allowed: {context['expected']}"
    return str(error["msg"])


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


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; keyword arguments win over the environment and ``.env``.

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
    except ValidationError as error:
        told = {name.upper() for name in given}  # a wrong name among these is in the list already
        problems += [
            _describe(dict(item))
            for item in error.errors()
            if item["type"] != "extra_forbidden" or _name_of(dict(item)) not in told
        ]
    if settings is not None and settings.source == "files" and settings.files_dir is None:
        problems.append("SPY_FILES_DIR is not set, but SPY_SOURCE='files' reads from it")
    if problems or settings is None:
        listing = "\n".join(f"  - {line}" for line in problems)
        raise ConfigError(
            f"{len(problems)} setting(s) are wrong:\n{listing}",
            hint=f"mend them in the environment or {file}; .env.example lists them all",
        )
    return settings


if __name__ == "__main__":
    sys.stdout.write(example_env())
