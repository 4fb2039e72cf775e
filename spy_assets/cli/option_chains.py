"""``spy chain``: finding a chain in the lake or in a drop, and the part of it that is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from spy_assets.errors import ConfigError, DataError, NotProvided, SchemaDrift

if TYPE_CHECKING:
    from spy_assets.cli.option_inputs import Carry
    from spy_assets.cli.terminal import Terminal
    from spy_assets.market.sources.chains.protocol import ChainSource
    from spy_assets.options.chain import RawChain
    from spy_assets.options.chain_calibration import ChainFit, ChainQuotes
    from spy_assets.options.pictures import Chart, SurfaceGrid

TABLE: Final = "options.chain_quotes"
SPOT_SOURCES: Final = {
    "parity": "implied by put-call parity",
    "vendor": "vendor",
    "none": "unknown",
}
#: The surface is fitted to quotes that somebody bids at least five cents for.
_LEAST_BID: Final = 0.05
#: A page has this many smiles beside the one asked for, and a surface at least that long (years).
_SMILES: Final = 8
_SHORTEST_TERM: Final = 2.0 / 365.0
_EMPTY_LAKE: Final = "materialize option_chain, or read a drop by --file"
_LAYOUT: Final = (
    "a drop is a folder with chains/VENDOR/…, a DAY.parquet in one, a JSON of Cboe, or a file of"
    " OptionsDX or DataShop"
)


@dataclass(frozen=True)
class Snapshot:
    """A chain with volatilities and Greeks; ``notes`` say what was left out and what was assumed."""

    symbol: str
    session: date
    contracts: pl.DataFrame
    spot: float | None
    spot_from: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Expiry:
    """One expiry of a chain in a few numbers; None where the quotes do not tell."""

    day: date
    root: str
    days: int
    years: float | None
    forward: float | None
    atm_iv: float | None
    #: Price of the straddle at the money, dollars.
    expected_move: float | None


@dataclass(frozen=True)
class View:
    """What of a snapshot is shown: one expiry, strikes around the money."""

    snapshot: Snapshot
    expiry: Expiry
    expiries: tuple[Expiry, ...]
    #: The contracts shown, sorted by strike.
    rows: pl.DataFrame
    atm_strike: float | None
    strikes_listed: int


# --- from the lake ------------------------------------------------------------------------------


def from_lake(terminal: Terminal, symbol: str, session: date | None) -> Snapshot:
    """The chain of a session as the graph keeps it, by default of the last one.

    Raises
    ------
    NotProvided
        If the lake has none; the message names what it has.
    """
    from spy_assets.warehouse import Warehouse

    with Warehouse.open(terminal.settings, read_only=True) as warehouse:
        if TABLE not in warehouse.tables():
            raise NotProvided(
                f"the lake of profile {terminal.settings.profile_name!r} has no table {TABLE}",
                hint=_EMPTY_LAKE,
            )
        kept = warehouse.execute(f"SELECT DISTINCT symbol, session FROM {TABLE} ORDER BY ALL")
        sessions = kept.filter(pl.col("symbol") == symbol)["session"].to_list()
        chosen = _session(
            session,
            sessions,
            symbol,
            "the lake",
            kept["symbol"].unique().to_list(),
            hint=_EMPTY_LAKE,
        )
        frame = warehouse.read(TABLE, where="symbol = ? AND session = ?", params=[symbol, chosen])
    return Snapshot(symbol, chosen, frame, *_spot_in(frame), _lake_notes(frame))


def _spot_in(frame: pl.DataFrame) -> tuple[float | None, str]:
    used = frame.drop_nulls("spot_used").select("spot_used", "spot_source").head(1).rows()
    return (used[0][0], SPOT_SOURCES.get(used[0][1], used[0][1])) if used else (None, "unknown")


def _lake_notes(frame: pl.DataFrame) -> tuple[str, ...]:
    rates = frame["rate"].drop_nulls().unique().to_list()
    if rates:
        return (f"rate {min(rates):.2%}, as known at the session's decision",)
    reasons = ", ".join(frame["iv_status"].drop_nulls().unique().sort().to_list())
    return (f"no volatilities and no Greeks: {reasons}",)


def _session(
    asked: date | None,
    known: Sequence[date],
    symbol: str,
    place: str,
    symbols: Sequence[str],
    *,
    hint: str,
) -> date:
    """The session asked for, by default the last; ``hint`` is for a place without any chain."""
    if known and (asked is None or asked in known):
        return max(known) if asked is None else asked
    if not known:
        others = f"there are chains of {', '.join(sorted(symbols))}" if symbols else hint
        raise NotProvided(f"{place} has no chain of {symbol}", hint=others)
    raise NotProvided(f"{place} has no chain of {symbol} of {asked}", hint=_listed(known))


def _listed(days: Sequence[date]) -> str:
    ordered = sorted(days)
    if len(ordered) <= 10:
        return f"there are {', '.join(map(str, ordered))}"
    last = ", ".join(map(str, ordered[-5:]))
    return f"there are {len(ordered)} from {ordered[0]}; the last are {last}"


# --- from a drop --------------------------------------------------------------------------------


def raw_from_drop(
    path: Path, symbol: str, session: date | None, *, now: datetime
) -> tuple[RawChain, date]:
    """The chain of a drop as its adapter reads it, and its session.

    Raises
    ------
    ConfigError
        If there is nothing there, or nothing that an adapter reads.
    NotProvided
        If the drop has no such chain; the message names what it has.
    """
    if not path.exists():
        raise ConfigError(f"--file {str(path)!r} does not exist", hint=_LAYOUT)
    if path.suffix.lower() == ".json":
        return _raw_from_json(path, symbol, session, now=now)
    source, day = _drop(path)
    if day is not None and session not in (None, day):
        raise ConfigError(
            f"--date {session} is not the day of {path.name}", hint="leave --date out"
        )
    known = source.sessions(symbol, now=now)
    others = [] if known else _symbols_beside(path)
    chosen = _session(day or session, known, symbol, str(path), others, hint=_LAYOUT)
    return source.chain(symbol, chosen, now=now), chosen


def _drop(path: Path) -> tuple[ChainSource, date | None]:
    """Which adapter reads the path, and the day if it is the file of one."""
    from spy_assets.market.sources.chains.cboe import CboeFileChains
    from spy_assets.market.sources.chains.files import FileChains, file_of_lines

    if path.is_dir():
        root = path.resolve()
        places = (root, *root.parents)
        found = next((place for place in places[:4] if (place / "chains").is_dir()), root)
        return FileChains(found), None
    lines = file_of_lines(path)
    if lines is not None:
        return lines, None
    folders = path.resolve().parents
    if path.suffix != ".parquet" or len(folders) < 4 or folders[1].name != "cboe":
        raise ConfigError(f"--file {str(path)!r} is no file that can be read", hint=_LAYOUT)
    try:
        return CboeFileChains(folders[3]), date.fromisoformat(path.stem)
    except ValueError as error:
        raise ConfigError(f"--file {path.name!r} is not named by its day", hint=_LAYOUT) from error


def _symbols_beside(path: Path) -> list[str]:
    """Underlyings that the drop has folders of."""
    place = path.resolve()
    found = {
        folder.name
        for root in (place, *place.parents[:4])
        if root.is_dir()
        for folder in root.glob("chains/*/*")
        if folder.is_dir()
    }
    return sorted(found)


def _raw_from_json(
    path: Path, symbol: str, session: date | None, *, now: datetime
) -> tuple[RawChain, date]:
    from spy_assets.market.sources.chains.cboe import DELAY, read_delayed_quotes
    from spy_assets.market.sources.chains.protocol import open_session

    try:
        body = json.loads(path.read_text())
        moment = datetime.fromisoformat(f"{body['timestamp']}Z")
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaDrift(
            f"{path} is not the JSON of Cboe's delayed quotes: {error!r}", hint=_LAYOUT
        ) from error
    day = open_session(moment, delay=DELAY)
    if session not in (None, day):
        raise NotProvided(f"{path} has no chain of {session}", hint=f"its quotes are of {day}")
    return read_delayed_quotes(body, symbol, day, available_at=now), day


def analysed(
    raw: RawChain,
    symbol: str,
    session: date,
    carry: Carry,
    *,
    spot: float | None,
    now: datetime,
) -> Snapshot:
    """Clean a raw chain, and find forwards, volatilities and Greeks.

    Raises
    ------
    DataError
        If no contract is left; the message names the reasons.
    """
    from spy_assets.options.chain import clean_chain
    from spy_assets.options.chain_analytics import analyse_chain

    cleaned = clean_chain(raw, session=session, as_of=now, symbol=symbol)
    reasons = cleaned.quarantined["reason"].value_counts(sort=True).rows()
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    if cleaned.frame.is_empty():
        raise DataError(
            f"no contract of {symbol} of {session} can be shown: {told or 'the chain is empty'}",
            hint="the quotes are of another day, or damaged: choose another --date",
        )
    found = analyse_chain(
        cleaned.frame, rate=carry.rate, dividend_yield=carry.dividend_yield, spot=spot
    )
    notes = [*cleaned.notes, *([f"quarantined: {told}"] if told else [])]
    notes.append(
        f"rate {carry.rate:.2%} ({carry.rate_from}), yield {carry.dividend_yield:.2%} "
        f"({carry.yield_from}); forwards are the chain's own where parity tells them"
    )
    label = "given" if spot is not None else SPOT_SOURCES[found.spot_source]
    return Snapshot(symbol, session, found.contracts, found.spot, label, tuple(notes))


# --- what is shown ------------------------------------------------------------------------------


def view_of(
    snapshot: Snapshot, *, expiry: date | None, root: str | None, strikes: int | None
) -> View:
    """One expiry of a snapshot, by default the nearest that lives, and strikes around its money.

    Parameters
    ----------
    expiry, root
        Which one.
    strikes
        How many on each side of the money; None for all.

    Raises
    ------
    NotProvided
        If the chain has no such expiry; the message lists them.
    """
    standard = snapshot.contracts.filter(~pl.col("is_adjusted"))
    if root is not None:
        standard = standard.filter(pl.col("root") == root)
    groups = {
        (day, name): group
        for (day, name), group in standard.group_by("expiry", "root", maintain_order=True)
    }
    keys = sorted(groups, key=lambda key: (key[0], -groups[key].height))
    asked = [key for key in keys if expiry in (None, key[0])]
    if not asked:
        days = ", ".join(str(day) for day in dict.fromkeys(day for day, _ in keys))
        roots = sorted(snapshot.contracts["root"].unique().to_list())
        raise NotProvided(
            f"the chain of {snapshot.symbol} of {snapshot.session} has no expiry {expiry or ''}"
            f"{f' of root {root}' if root else ''}".rstrip(),
            hint=f"there are {days}" if days else f"its roots are {', '.join(roots)}",
        )
    summaries = {key: _expiry(groups[key], snapshot, *key) for key in keys}
    alive = [key for key in asked if (summaries[key].years or 0.0) > 0.0]
    chosen = (alive or asked)[0]
    rows = groups[chosen].sort("strike", "right")
    at_money = _atm_strike(rows, summaries[chosen].forward or snapshot.spot)
    shown = _around(rows, at_money, strikes)
    listed = rows["strike"].n_unique()
    return View(snapshot, summaries[chosen], tuple(summaries.values()), shown, at_money, listed)


def _expiry(group: pl.DataFrame, snapshot: Snapshot, day: date, root: str) -> Expiry:
    from spy_assets.features.chain import expected_move, interpolate

    forward, years = _only(group, "forward"), _only(group, "years")
    smile = group.drop_nulls("iv_used").group_by("strike").agg(pl.col("iv_used").first())
    smile = smile.sort("strike")
    atm = None
    if forward is not None:
        atm = interpolate(smile["strike"].to_list(), smile["iv_used"].to_list(), forward)
    move = expected_move(group, snapshot.spot).value if snapshot.spot else None
    dollars = move * snapshot.spot if move is not None and snapshot.spot else None
    return Expiry(day, root, (day - snapshot.session).days, years, forward, atm, dollars)


def _only(group: pl.DataFrame, column: str) -> float | None:
    value = group[column].drop_nulls().median()
    return value if isinstance(value, float) else None


def _atm_strike(rows: pl.DataFrame, money: float | None) -> float | None:
    if money is None:
        return None
    strikes: list[float] = rows["strike"].to_list()
    return min(strikes, key=lambda strike: abs(strike - money))


def _around(rows: pl.DataFrame, atm: float | None, strikes: int | None) -> pl.DataFrame:
    if strikes is None or atm is None:
        return rows
    ladder = rows["strike"].unique().sort().to_list()
    at = ladder.index(atm)
    low, high = ladder[max(0, at - strikes)], ladder[min(len(ladder) - 1, at + strikes)]
    return rows.filter(pl.col("strike").is_between(low, high))


def as_document(view: View, row_objects: Callable[[pl.DataFrame], Any]) -> dict[str, Any]:
    """The view as one JSON document, in the units that it names."""
    from spy_assets.cli.option_units import CHAIN_UNITS, as_read

    def summary(expiry: Expiry) -> dict[str, Any]:
        return {
            "expiry": expiry.day,
            "root": expiry.root,
            "days": expiry.days,
            "years": expiry.years,
            "forward": expiry.forward,
            "atm_iv": expiry.atm_iv,
            "expected_move": expiry.expected_move,
        }

    snapshot = view.snapshot
    return {
        "symbol": snapshot.symbol,
        "session": snapshot.session,
        "spot": snapshot.spot,
        "spot_from": snapshot.spot_from,
        **summary(view.expiry),
        "atm_strike": view.atm_strike,
        "expiries": [summary(expiry) for expiry in view.expiries],
        "notes": list(snapshot.notes),
        "units": CHAIN_UNITS,
        "rows": row_objects(as_read(view.rows)),
    }


# --- pictures -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A view's chain with the surface fitted to all of it."""

    view: View
    quotes: ChainQuotes
    fit: ChainFit
    #: Which quotes are of the expiry shown.
    here: pl.Series

    def smile(self) -> Chart:
        """The fit of the expiry shown beside its quotes."""
        expiry = self.view.expiry
        return self._smile_at(expiry.day, float(expiry.years or 0.0), self.here.to_numpy())

    def album(self) -> list[Chart | SurfaceGrid]:
        """The surface with all quotes, the term structure, and smiles: the one shown, and others."""
        from spy_assets.options.pictures import surface_grid, term_chart

        snapshot, errors = self.view.snapshot, self.fit.errors
        chain = f"{snapshot.symbol} {snapshot.session}"
        longest = max(float(self.quotes.years.max()), _SHORTEST_TERM)
        told = f"{errors.points:,} quotes, fit within {errors.near:.2f} points near the money"
        surface = self.fit.surface
        return [
            surface_grid(surface, title=f"{chain}: {told}", longest=longest, quotes=self.quotes),
            self.smile(),
            term_chart(surface, title=f"{chain}: term structure", longest=longest),
            *(
                self._smile_at(other.day, years, self.quotes.years == years)
                for other, years in self._others()
            ),
        ]

    def _others(self) -> list[tuple[Expiry, float]]:
        """Expiries beside the one shown that the surface was fitted to, evenly spread over them."""
        shown = self.view.expiry
        fitted = [
            (other, other.years)
            for other in self.view.expiries
            if other.years in self.fit.by_expiry and other != shown and other.years is not None
        ]
        step = max(1, -(-len(fitted) // _SMILES))
        return fitted[::step]

    def _smile_at(self, day: date, years: float, rows: Any) -> Chart:
        from spy_assets.options.pictures import MarketSmile, smile_chart

        snapshot, quotes = self.view.snapshot, self.quotes
        error = self.fit.by_expiry.get(years)
        told = f", fit within {error.near:.2f} points near" if error else ""
        title = f"{snapshot.symbol} {day} on {snapshot.session}{told}"
        market = MarketSmile(
            quotes.k[rows],
            quotes.iv[rows],
            None if quotes.bid_iv is None else quotes.bid_iv[rows],
            None if quotes.ask_iv is None else quotes.ask_iv[rows],
        )
        return smile_chart(self.fit.surface, years, title=title, market=market)


def fitted(view: View) -> Fitted:
    """Fit the surface to the whole chain, for pictures of the expiry shown.

    Raises
    ------
    DataError
        If no expiry has enough volatilities, or the one shown has no time left.
    """
    from spy_assets.options.chain_calibration import ChainQuotes, calibrate_to_chain

    expiry, snapshot = view.expiry, view.snapshot
    usable = snapshot.contracts.filter(
        ~pl.col("is_adjusted") & pl.col("is_otm") & (pl.col("years") > 0.0),
        pl.col("iv").is_not_null() & (pl.col("bid") >= _LEAST_BID),
    )
    here = (usable["expiry"] == expiry.day) & (usable["root"] == expiry.root)
    if not here.any() or expiry.years is None:
        raise DataError(
            f"no smile: {expiry.day} has no quotes out of the money with a volatility",
            hint="choose another --expiry",
        )
    quotes = ChainQuotes(*_points(usable, snapshot.spot))
    return Fitted(view, quotes, calibrate_to_chain(quotes), here)


def _points(frame: pl.DataFrame, spot: float | None) -> tuple[Any, ...]:
    """Log-moneyness, years, and volatilities of mid, bid and ask, less the early-exercise premium."""
    from spy_assets.options.chain_analytics import signs
    from spy_assets.options.implied_vol import implied_volatility

    names = ("strike", "forward", "years", "rate", "dividend_yield", "iv")
    columns = {name: frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy() for name in names}
    premium = frame["early_exercise"].fill_null(0.0)
    at = math.nan if spot is None else spot
    sides = [
        implied_volatility(
            (frame[side] - premium).fill_null(math.nan).to_numpy(),
            at,
            columns["strike"],
            columns["years"],
            columns["rate"],
            columns["dividend_yield"],
            signs(frame["right"]),
        ).iv
        for side in ("bid", "ask")
    ]
    k = frame.select((pl.col("strike") / pl.col("forward")).log().alias("k"))["k"].to_numpy()
    return k, columns["years"], columns["iv"], *sides
