"""Yahoo Finance through yfinance, with FRED for interest rates.

yfinance talks through :class:`YahooSession`: every request spends the run's budget, is validated
and retried like any other vendor's, and its hosts (constants in yfinance) can be sent elsewhere by
`SPY_HTTP__YAHOO_URL`, which is how it is tested over a real socket.

Yahoo's prices, and its dividends, are adjusted for splits, also for later ones. So history is
always asked for up to now, and every split that Yahoo lists is undone: stored prices are those
traded. There is no put/call data, and one-minute bars go back about 30 days, eight days a request.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import polars as pl
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import RequestException

from spy_assets import clock
from spy_assets.errors import EmptyResponse, NotProvided, SourceUnavailable
from spy_assets.market.adjustment import undo_split_adjustment
from spy_assets.market.availability import is_crypto
from spy_assets.market.schemas import TIMESTAMP, Dataset, empty, raw_columns, require_names
from spy_assets.market.sources.base import not_provided
from spy_assets.market.sources.fred import FredRates
from spy_assets.market.sources.http import (
    MAX_REDIRECTS,
    Answer,
    Gate,
    check_redirect,
    gather,
    one_by_one,
    redact,
)
from spy_assets.sessions import CALENDAR_START, last_closed_session

if TYPE_CHECKING:
    import pandas as pd

    from spy_assets.settings import Settings

NAME = "yfinance"
#: Our names of volatility indices -> Yahoo's symbols.
INDEX_SYMBOLS = {name: f"^{name}" for name in ("VIX", "VIX9D", "VIX3M", "VVIX", "SKEW", "VIX1D")}
SPY_INCEPTION = date(1993, 1, 29)
VIX_START = date(1990, 1, 2)
#: Yahoo keeps one-minute bars for 30 days; a day is kept as a margin.
MINUTE_DAYS = 29
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_COLUMNS = ["Open", "High", "Low", "Close", "Volume", "Dividends", "Stock Splits"]
#: Columns that some instruments have more: they are known, and not needed.
_KNOWN = {"Adj Close", "Capital Gains"}


class YahooSession(Session[Response]):
    """A curl_cffi session that asks through a :class:`Gate`.

    Parameters
    ----------
    gate
        Budget, retries, validation.
    base_url
        Scheme and host that every request goes to; Yahoo's own hosts if not given.
    """

    #: In the path of pages that are validated and retried.
    guarded = "/finance/chart/"

    def __init__(self, gate: Gate, base_url: str | None = None) -> None:
        super().__init__(impersonate="chrome", trust_env=base_url is None)
        self._gate = gate
        self._base = urlsplit(base_url) if base_url else None

    def _target(self, url: str) -> str:
        if self._base is None:
            return url
        parts = urlsplit(url)
        return urlunsplit((self._base.scheme, self._base.netloc, parts.path, parts.query, ""))

    def request(self, method: Any, url: str, **kwargs: Any) -> Response:  # type: ignore[override]
        """One validated answer; see :mod:`.http` for the errors."""
        kwargs["timeout"] = self._gate.policy.timeout_s
        kwargs["allow_redirects"] = False
        target = self._target(url)
        if self.guarded not in urlsplit(url).path:
            # The cookie and the crumb are optional: yfinance goes on without them, so they are
            # asked for once, and whatever comes back is its own business.
            self._gate.budget.spend(redact(target))
            return self._follow(method, target, kwargs)
        response, _ = self._gate.call(
            lambda: self._follow(method, target, kwargs),
            self.view,
            expect="json",
            what=redact(target),
            transient=(RequestException,),
        )
        return response

    def _follow(self, method: Any, url: str, kwargs: dict[str, Any]) -> Response:
        target = url
        for _ in range(MAX_REDIRECTS):
            response = super().request(method, target, **kwargs)
            location = response.headers.get("location")
            if response.status_code not in _REDIRECT or not location:
                return response
            following = urljoin(target, location)
            check_redirect(target, following)
            target = following
        raise SourceUnavailable(
            f"{redact(url)}: more than {MAX_REDIRECTS} redirects", hint="try again later"
        )

    def view(self, response: Response) -> Answer:
        """The answer that is validated."""
        headers = {str(name): str(value) for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content, str(response.url))


class YahooSource:
    """See the module's docstring.

    Parameters
    ----------
    gate
        Budget and retries of the run, shared with FRED.
    fred
        Where interest rates come from.
    symbols
        Symbols wanted.
    base_url
        Another host than Yahoo's.
    cache_dir
        Where yfinance may keep its cookie and time-zone cache.
    """

    name = NAME
    historical = False

    def __init__(
        self,
        gate: Gate,
        fred: FredRates,
        *,
        symbols: Sequence[str] = ("SPY",),
        base_url: str | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self._session = YahooSession(gate, base_url)
        self._fred = fred
        self._symbols = tuple(symbols)
        self._cache_dir = cache_dir
        self._cache_placed = False

    @classmethod
    def from_settings(cls, settings: Settings) -> YahooSource:
        """The source with the settings' addresses, key and budget."""
        gate = Gate(settings.http)
        key = settings.fred_api_key.get_secret_value() if settings.fred_api_key else None
        fred = FredRates(gate, base_url=settings.http.fred_url, api_key=key)
        return cls(
            gate,
            fred,
            symbols=settings.symbols,
            base_url=settings.http.yahoo_url,
            cache_dir=settings.root / "yfinance",
        )

    def symbols(self) -> tuple[str, ...]:
        """The wanted symbols."""
        return self._symbols

    def display_symbol(self, symbol: str) -> str:
        """The symbol itself."""
        return symbol

    def last_session(self) -> date:
        """The last session that has closed by the wall clock."""
        return last_closed_session(clock.utc_now())

    def span(self, dataset: Dataset) -> tuple[date, date] | None:
        """From the first day that Yahoo (rates: FRED) has of SPY and VIX to the last session."""
        last = self.last_session()
        starts: dict[Dataset, date | None] = {
            "daily_bars": SPY_INCEPTION,
            "volatility": VIX_START,
            "rates": CALENDAR_START,
            "put_call": None,
            "minute_bars": last - timedelta(days=MINUTE_DAYS),
        }
        start = starts[dataset]
        return (start, last) if start is not None else None

    def _ticker(self, symbol: str) -> Any:
        import yfinance
        from yfinance.config import YfConfig

        # yfinance would turn every error into an empty frame, which reads as "no data". Raised, it
        # needs no line in the terminal as well; a missing cookie or crumb is no error, and that it uses
        # an old way of pandas is its own business.
        YfConfig.debug.hide_exceptions = False
        logging.getLogger("yfinance").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="yfinance")
        if self._cache_dir is not None and not self._cache_dir.is_dir():
            self._cache_dir.mkdir(parents=True)
        if self._cache_dir is not None and not self._cache_placed:
            yfinance.set_tz_cache_location(str(self._cache_dir))
            self._cache_placed = True
        return yfinance.Ticker(symbol, session=self._session)

    def _history(self, symbol: str, **asked: Any) -> pd.DataFrame:
        """What yfinance gives, or an error; never an empty frame."""
        from yfinance.exceptions import YFException

        try:
            frame: pd.DataFrame = self._ticker(symbol).history(
                auto_adjust=False, actions=True, keepna=True, **asked
            )
        except YFException as error:
            raise EmptyResponse(
                f"yfinance {symbol} {asked}: {redact(str(error))}",
                hint="check the symbol and the range; Yahoo may be down",
            ) from error
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise SourceUnavailable(
                f"yfinance {symbol} {asked}: cannot read Yahoo's answer ({error!r})",
                hint="Yahoo changed its format; update yfinance",
            ) from error
        if frame.empty:
            raise EmptyResponse(
                f"yfinance {symbol} {asked}: no row", hint="check the symbol and the range"
            )
        found = [str(column) for column in frame.columns if column not in _KNOWN]
        require_names(found, _COLUMNS, f"yfinance {symbol}")
        return frame

    def _daily(self, symbol: str, start: date, end: date) -> pl.DataFrame:
        """Bars from `start` to now, splits undone, then cut at `end`."""
        table = self._history(symbol, start=start.isoformat(), interval="1d")
        bars = pl.DataFrame(
            {
                "session": [stamp.date() for stamp in table.index],
                **{name.lower(): table[name].to_numpy(dtype=float) for name in _COLUMNS[:5]},
                "dividend": table["Dividends"].to_numpy(dtype=float),
                "split": table["Stock Splits"].to_numpy(dtype=float),
            },
            schema_overrides={"session": pl.Date},
        ).with_columns(
            pl.lit(symbol).alias("symbol"),
            pl.when(pl.col("split") > 0).then(pl.col("split")).otherwise(1.0).alias("split"),
        )
        traded = undo_split_adjustment(bars, adjusted=True)
        cut = traded.filter(pl.col("session").is_between(start, end))
        return cut.select(pl.col(n).cast(kind) for n, kind in raw_columns("daily_bars").items())

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Bars as traded; crypto by UTC day. After a partial failure only failed symbols are asked.

        Raises
        ------
        SourceError
            As :mod:`.http`; EmptyResponse for a symbol that Yahoo does not have.
        """
        frames = gather(
            list(symbols), one_by_one(lambda name: self._daily(name, start, end)), what=NAME
        )
        return pl.concat(frames.values()) if frames else empty(raw_columns("daily_bars"))

    def volatility(self, names: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Volatility indices; names that Yahoo lacks give no row."""
        symbols = {INDEX_SYMBOLS[name]: name for name in names if name in INDEX_SYMBOLS}
        if not symbols:
            return empty(raw_columns("volatility"))
        bars = self.daily_bars(list(symbols), start, end)
        return bars.select(
            pl.col("symbol").replace_strict(symbols, return_dtype=pl.String).alias("name"),
            "session",
            "open",
            "high",
            "low",
            "close",
        )

    def rates(self, series: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Interest rates from FRED."""
        return self._fred.rates(series, start, end)

    def put_call(self, start: date, end: date) -> pl.DataFrame:
        """Not at Yahoo.

        Raises
        ------
        NotProvided
            Always.
        """
        raise not_provided(
            NAME, "put_call", f"use the files source for {start} to {end}, or the proxy contract"
        )

    def minute_bars(self, symbol: str, session: date) -> pl.DataFrame:
        """One-minute bars of regular hours; prices are as Yahoo has them today.

        Raises
        ------
        NotProvided
            If the session is more than 29 days ago.
        """
        oldest = clock.utc_now().date() - timedelta(days=MINUTE_DAYS)
        if session < oldest or is_crypto(symbol):
            raise NotProvided(
                f"{NAME} has no one-minute bar of {symbol!r} on {session}",
                hint=f"it keeps them for sessions from {oldest} on; use the files source",
            )
        following = session + timedelta(days=1)
        table = self._history(
            symbol, start=session.isoformat(), end=following.isoformat(), interval="1m"
        )
        stamps = pl.Series(
            "bar_start", [stamp.to_pydatetime() for stamp in table.index.tz_convert("UTC")]
        )
        bars = pl.DataFrame(
            {name.lower(): table[name].to_numpy(dtype=float) for name in _COLUMNS[:5]}
        )
        rows = bars.select(
            pl.lit(symbol).alias("symbol"),
            stamps.cast(TIMESTAMP),
            pl.lit(session).alias("session"),
            "open",
            "high",
            "low",
            "close",
            "volume",
            pl.lit(None, pl.Float64).alias("vwap"),
            pl.lit(None, pl.Int64).alias("trades"),
            pl.lit(False).alias("synthetic"),
        )
        # Yahoo writes a minute without a trade as a row of nothing: that is a gap, not a bad bar.
        return rows.filter(pl.any_horizontal(pl.col("open", "high", "low", "close").is_not_nan()))
