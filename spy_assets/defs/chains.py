"""A partition's chain: asked for, judged, cleaned, analysed and written; what the assets share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from spy_assets import sessions
from spy_assets.defs.describe import picture, table
from spy_assets.defs.partitions import ChainPart
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.defs.resources import SpyResource
    from spy_assets.market.cleaning import Cleaned
    from spy_assets.market.sources.chains import ChainSource
    from spy_assets.options.calibration import IndexPin
    from spy_assets.options.carry import Carry
    from spy_assets.options.chain import RawChain
    from spy_assets.options.chain_analytics import ChainAnalytics
    from spy_assets.options.chain_calibration import Errors
    from spy_assets.options.chain_checks import Finding
    from spy_assets.warehouse import Warehouse, WriteResult

ASSET = dg.AssetKey(["options", "option_chain"])
QUOTES = "options.chain_quotes"
FEATURES = "features.chain"
#: Chains of so many days around a session are compared with its own.
_NEIGHBOURS = timedelta(days=7)
#: Bars before a session from which the dividend yield is taken.
_YEAR = timedelta(days=400)
#: Rows of a table in metadata.
_ROWS = 40
#: Calendar days of the expiry whose smile is shown.
_SHOWN_DAYS = 30
#: Of the contracts out of the money within 2 % of the spot so many must have a volatility: in seven
#: real CBOE chains more than 99 % do.
_ANALYSED_SHARE = 0.90

#: Check -> what it holds, in order; those of `options/chain_checks.py` first.
CHECKS: dict[str, str] = {
    "all_zero": "The chain has live quotes.",
    "wrong_session": "Trades, quote times and expiries agree with the session.",
    "duplicate": "Quotes and volumes are not those of another session.",
    "expiries": "Every expiry that the exchange lists for sure is there.",
    "strikes": "Contracts of the chain before are still there, and calls have their puts.",
    "spot_range": "The spot lies within the strikes.",
    "staleness": "The snapshot is of the end of options trading, and its quotes of the session.",
    "crossed": "No bid is above its ask.",
    "zero_bid": "Most contracts have a bid.",
    "parity": "Calls and puts agree with the forward of their expiry.",
    "spot_agreement": "The vendor's spot is the one that the quotes imply.",
    "quarantine": "No contract is withheld as an error.",
    "provided": "Every partition of the run has a chain.",
    "analysed": "Rate and dividend yield are known, and near-the-money quotes give a volatility.",
}
#: Checks whose failure keeps a chain out of the warehouse.
BLOCKING = (
    "all_zero", "wrong_session", "duplicate", "expiries", "strikes", "spot_range", "staleness",
)  # fmt: skip


@dataclass
class Taken:
    """What became of one partition's chain."""

    part: ChainPart
    #: Why there is no chain.
    absent: str = ""
    #: Whether a source was asked for one; where none is set, no chain is due.
    due: bool = True
    kind: str = ""
    raw_rows: int = 0
    findings: list[Finding] = field(default_factory=list)
    cleaned: Cleaned | None = None
    carry: Carry | None = None
    analytics: ChainAnalytics | None = None
    #: Of a model's chain: the indices, and what the surface makes of them.
    pins: tuple[IndexPin, ...] = ()

    @property
    def blocked(self) -> list[Finding]:
        """The findings that keep it out."""
        from spy_assets.options.chain_checks import blocking

        return blocking(self.findings)

    @property
    def withheld(self) -> int:
        """How many rows went to quarantine as errors."""
        if self.cleaned is None:
            return 0
        return self.cleaned.quarantined.filter(severity="error").height

    @property
    def publishable(self) -> bool:
        """Whether there are rows that may be written."""
        return self.analytics is not None and not self.blocked


def check_specs() -> list[dg.AssetCheckSpec]:
    """A spec of every check; errors block what is downstream."""
    return [
        dg.AssetCheckSpec(name, asset=ASSET, description=words, blocking=name in BLOCKING)
        for name, words in CHECKS.items()
    ]


def take(lake: Warehouse, spy: SpyResource, source: ChainSource | None, part: ChainPart) -> Taken:
    """Ask for a chain, judge it, and analyse it if it may be published.

    Raises
    ------
    SpyError
        If the source failed.
    """
    from spy_assets.errors import NotProvided

    if source is None:
        told = "no source of option chains is set (SPY_CHAINS__SOURCE)"
        return replace(_without(lake, spy, part, told), due=False)
    try:
        raw = source.chain(part.symbol, part.session, now=spy.utc_now())
    except NotProvided as error:
        return _without(lake, spy, part, error.message)
    return judge(lake, spy, part, raw)


def _without(lake: Warehouse, spy: SpyResource, part: ChainPart, why: str) -> Taken:
    """A session that no source has: nothing, or a model's chain if that is wanted.

    A real chain that is stored stays; a model's never takes its place.
    """
    if not spy.settings.chains.model_chain:
        return Taken(part, absent=why)
    if stored(lake, [part]):
        return Taken(part, absent=f"{why}; the stored chain stays")
    return _modelled(lake, spy, part, why)


def _modelled(lake: Warehouse, spy: SpyResource, part: ChainPart, why: str) -> Taken:
    """The chain that the day's volatility indices tell, labelled as such."""
    from spy_assets.errors import DataError
    from spy_assets.options.calibration import INDEX_DAYS
    from spy_assets.options.chain import clean_chain
    from spy_assets.options.model_chain import model_chain

    session, symbol = part
    bars, carry = _carry(lake, part)
    closes = bars.filter(bars["session"] == session)["close"]
    if carry.rate is None or carry.dividend_yield is None or closes.is_empty():
        return Taken(part, absent=f"{why}; no model chain: {carry.missing or 'no_close'}")
    lake.ensure(TABLES["market.volatility"])
    known = lake.read(
        "market.volatility",
        as_of=sessions.decision_time(session),
        where="session = ?",
        params=(session,),
    )
    points = {n: v for n, v in known.select("name", "close").iter_rows() if n in INDEX_DAYS}
    try:
        raw, fit = model_chain(
            points,
            symbol=symbol,
            session=session,
            spot=float(closes[0]),
            rate=carry.rate,
            dividend_yield=carry.dividend_yield,
        )
    except DataError as error:
        return Taken(part, absent=f"{why}; no model chain: {error.message}")
    taken = Taken(part, absent=f"{why}; a model's chain", kind="surface", carry=carry)
    taken.raw_rows, taken.pins = raw.frame.height, fit.pins
    now = max(spy.utc_now(), sessions.decision_time(session))
    taken.cleaned = clean_chain(raw, session=session, as_of=now, symbol=symbol)
    # The model is priced at one rate and a continuous yield, and must be read by the same.
    taken.analytics = analyse(taken.cleaned.frame, replace(carry, dividends=None, curve=()))
    return taken


def judge(lake: Warehouse, spy: SpyResource, part: ChainPart, raw: RawChain) -> Taken:
    """Check, clean and analyse a raw chain."""
    from spy_assets.options.chain import clean_chain
    from spy_assets.options.chain_checks import check_chain

    (session, symbol), now = part, spy.utc_now()
    bars, carry = _carry(lake, part)
    neighbours = _neighbours(lake, part)
    before = [day for day in neighbours if day < session]
    taken = Taken(part, kind="chain", raw_rows=raw.frame.height, carry=carry)
    taken.findings = check_chain(
        raw.frame,
        root=_root(raw.frame, symbol),
        session=session,
        as_of=now,
        rate=carry.rate,
        dividend_yield=carry.dividend_yield,
        spot=_spot(raw.frame, bars, session),
        previous=neighbours[max(before)] if before else None,
        others=neighbours,
    )
    taken.cleaned = clean_chain(raw, session=session, as_of=now, symbol=symbol)
    if not taken.blocked and not taken.cleaned.frame.is_empty():
        taken.analytics = analyse(taken.cleaned.frame, carry)
    return taken


def analyse(chain: pl.DataFrame, carry: Carry) -> ChainAnalytics:
    """The analytics of a clean chain; without a carry they are null, with the reason as status."""
    import polars as pl

    from spy_assets.options.chain_analytics import (
        ANALYTICS_SCHEMA,
        FORWARDS_SCHEMA,
        ChainAnalytics,
        analyse_chain,
    )

    if carry.rate is not None and carry.dividend_yield is not None and not chain.is_empty():
        return analyse_chain(
            chain,
            rate=carry.rates(chain["session"][0], chain["expiry"].unique()),
            dividend_yield=carry.dividend_yield,
            dividends=carry.dividends,
        )
    nothing = chain.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in ANALYTICS_SCHEMA.items()
    )
    told = nothing.with_columns(iv_status=pl.lit(carry.missing, pl.String))
    return ChainAnalytics(told, pl.DataFrame(schema=FORWARDS_SCHEMA), None, "none")


def _carry(lake: Warehouse, part: ChainPart) -> tuple[pl.DataFrame, Carry]:
    """The underlying's bars, and the carry, as known at the session's decision."""
    from spy_assets.options.carry import known_carry

    for name in ("market.daily_bars", "market.rates"):
        lake.ensure(TABLES[name])
    session, symbol = part
    as_of = sessions.decision_time(session)
    start = session - _YEAR
    bars = lake.read(
        "market.daily_bars",
        as_of=as_of,
        where="symbol = ? AND session BETWEEN ? AND ?",
        params=(symbol, start, session),
    )
    rates = lake.read("market.rates", as_of=as_of, where="session <= ?", params=(session,))
    return bars, known_carry(rates, bars, session)


def _spot(chain: pl.DataFrame, bars: pl.DataFrame, session: date) -> float | None:
    """The vendor's spot, else the session's close, for the checks."""
    if chain["spot"].null_count() < chain.height:
        return None  # the checks take the median of the column
    closes = bars.filter(bars["session"] == session)["close"]
    return float(closes[0]) if len(closes) else None


def _root(chain: pl.DataFrame, symbol: str) -> str:
    """The symbol's own root, or the one with most contracts: SPXW of SPX."""
    roots = chain["root"].drop_nulls()
    if roots.is_empty() or (roots == symbol).any():
        return symbol
    return str(roots.value_counts(sort=True)["root"][0])


def _neighbours(lake: Warehouse, part: ChainPart) -> dict[date, pl.DataFrame]:
    """Stored real chains of the days around a session."""
    session, symbol = part
    from spy_assets.options.chain import CHAIN_SCHEMA

    lake.ensure(TABLES[QUOTES])
    found = lake.read(
        QUOTES,
        where="symbol = ? AND quote_kind = 'chain' AND session <> ? AND session BETWEEN ? AND ?",
        params=(symbol, session, session - _NEIGHBOURS, session + _NEIGHBOURS),
        columns=list(CHAIN_SCHEMA),
    )
    return {day: found.filter(found["session"] == day) for day in found["session"].unique().sort()}


def store(lake: Warehouse, spy: SpyResource, taken: Sequence[Taken]) -> list[WriteResult]:
    """Write quotes, quarantine and coverage of all partitions in one transaction."""
    import polars as pl

    from spy_assets.market.schemas import QUARANTINE, TIMESTAMP, empty
    from spy_assets.options.chain import DATASET

    now = spy.utc_now()
    quotes = [rows_of(one.analytics) for one in taken if one.publishable and one.analytics]
    withheld = [empty(QUARANTINE)]
    withheld += [one.cleaned.quarantined for one in taken if one.cleaned and not one.blocked]
    withheld += [_withheld_chain(one) for one in taken if one.blocked]
    known = {"available_at": pl.lit(now, TIMESTAMP), "source": pl.lit(DATASET)}
    batches = [
        (TABLES["quarantine.rows"], pl.concat(withheld).with_columns(**known)),
        (TABLES["market.coverage"], _coverage(lake, taken).with_columns(**known)),
    ]
    if quotes:
        batches.insert(0, (TABLES[QUOTES], pl.concat(quotes)))
    results = lake.write_many(batches, ingested_at=now)
    return results if quotes else []


def rows_of(analytics: ChainAnalytics) -> pl.DataFrame:
    """Rows of `options.chain_quotes`."""
    import polars as pl

    return analytics.contracts.with_columns(
        spot_used=pl.lit(analytics.spot, pl.Float64), spot_source=pl.lit(analytics.spot_source)
    )


def _coverage(lake: Warehouse, taken: Sequence[Taken]) -> pl.DataFrame:
    """Rows of `market.coverage`: a chain is due of each partition that was asked for, and came or not.

    A partition keeps the row of its stored chain if a later answer has none. Model prices are no chain.
    """
    from spy_assets.market.gaps import Coverage, coverage_frame
    from spy_assets.options.chain import DATASET

    kept = stored(lake, [one.part for one in taken])
    rows = []
    for one in taken:
        came = one.publishable and not one.absent
        if one.due and (came or one.part not in kept):
            lacking = int(not came)
            told = _came(one) if came else _missed(one)
            session, symbol = one.part
            rows.append(Coverage(DATASET, symbol, session, 1, 1 - lacking, lacking, lacking, told))
    return coverage_frame(rows)


def _came(taken: Taken) -> str:
    assert taken.analytics is not None
    contracts = taken.analytics.contracts
    told = f"{contracts.height} contracts of {contracts['expiry'].n_unique()} expiries"
    return f"{told}, {taken.withheld} withheld"


def _missed(taken: Taken) -> str:
    """Why a session has no chain: it is not offered, kept out, or nothing of it is sound."""
    blocked = ", ".join(finding.name for finding in taken.blocked)
    if blocked:
        return f"kept out: {blocked}; {taken.raw_rows} contracts"
    return taken.absent or f"no sound contract; {taken.withheld} withheld"


def _withheld_chain(taken: Taken) -> pl.DataFrame:
    """One quarantine row for each reason that kept a whole chain out."""
    import json

    import polars as pl

    from spy_assets.market.quarantine import row_id
    from spy_assets.market.schemas import QUARANTINE
    from spy_assets.options.chain import DATASET

    rows = []
    session, symbol = taken.part
    for finding in taken.blocked:
        payload = json.dumps({"contracts": taken.raw_rows, "found": finding.message})
        named = f"{symbol}\n{session}\n{finding.name}\n{payload}"
        rows.append(
            {
                "dataset": DATASET,
                "row_id": row_id(DATASET, named),
                "symbol": symbol,
                "session": session,
                "reason": f"chain:{finding.name}",
                "severity": "error",
                "payload": payload,
                "event_time": None,
            }
        )
    return pl.DataFrame(rows, schema=pl.Schema(QUARANTINE))


def results(taken: Sequence[Taken], kept: frozenset[ChainPart]) -> list[dg.AssetCheckResult]:
    """One result per check over all partitions of a run."""
    found: dict[str, list[_Told]] = {name: [] for name in CHECKS}
    for one in taken:
        for finding in one.findings:
            words = "; ".join((finding.message, *finding.examples))
            told = _Told(one.part, finding.passed, words, finding.severity == "error")
            found[finding.name].append(told)
        there = not one.absent or one.part in kept
        words = one.absent or f"{one.raw_rows} contracts"
        found["provided"].append(_Told(one.part, there, words))
        if one.cleaned is not None:
            found["quarantine"].append(_quarantine(one))
        if one.analytics is not None:
            found["analysed"].append(_analysed(one))
    return [_result(name, rows) for name, rows in found.items()]


class _Told(NamedTuple):
    """What a check says of one chain."""

    part: ChainPart
    passed: bool
    words: str
    #: Whether a failure blocks what is downstream; what was not judged does not.
    blocks: bool = False


def _quarantine(one: Taken) -> _Told:
    assert one.cleaned is not None
    errors = one.cleaned.quarantined.filter(severity="error")
    counts = errors["reason"].value_counts(sort=True).rows()
    told = ", ".join(f"{reason} {count}" for reason, count in counts[:10])
    return _Told(one.part, errors.is_empty(), told or "none withheld")


def _analysed(one: Taken) -> _Told:
    """Whether the contracts near the money, out of it and alive, have volatilities."""
    import polars as pl

    from spy_assets.features.chain import NEAR

    assert one.analytics is not None
    assert one.carry is not None
    if one.carry.missing is not None:
        words = f"not judged: {one.carry.missing}, so that no volatility can be told"
        return _Told(one.part, False, words)
    contracts, spot = one.analytics.contracts, one.analytics.spot
    distance = (pl.col("strike") / pl.lit(spot, pl.Float64) - 1.0).abs()
    near = contracts.filter(
        distance <= NEAR, pl.col("years") > 0, pl.col("is_otm"), ~pl.col("is_adjusted")
    )
    if near.is_empty():
        return _Told(one.part, False, "not judged: no contract near the money is known")
    known = near["iv"].count()
    words = f"{known} of {near.height} contracts near the money have a volatility"
    words += f", {contracts['iv'].count()} of {contracts.height} of all"
    return _Told(one.part, known >= _ANALYSED_SHARE * near.height, words)


def _result(name: str, rows: list[_Told]) -> dg.AssetCheckResult:
    failed = [row for row in rows if not row.passed]
    blocks = any(row.blocks for row in failed) if failed else name in BLOCKING
    told = failed or rows
    return dg.AssetCheckResult(
        asset_key=ASSET,
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        metadata={
            "chains": len(rows),
            "failed": len(failed),
            "found": "\n".join(f"{row.part}: {row.words}" for row in told[:_ROWS])
            or "no chain was judged",
        },
    )


def describe(one: Taken) -> dict[str, Any]:
    """What the UI shows of a session's chain: counts, volatilities, the surface and a picture."""
    import polars as pl

    if one.analytics is None or one.carry is None:
        return {"chain": one.absent or "kept out by its checks"}
    contracts, spot = one.analytics.contracts, one.analytics.spot
    statuses = contracts["iv_status"].value_counts(sort=True).sort("count", descending=True)
    shown: dict[str, Any] = {
        "session": one.part.session.isoformat(),
        "symbol": one.part.symbol,
        "quote_kind": one.kind,
        "vendor": ", ".join(contracts["source"].unique().sort()),
        "contracts": contracts.height,
        "expiries": contracts["expiry"].n_unique(),
        "volatilities": table(statuses, _ROWS),
        "spot_source": one.analytics.spot_source,
        "rate": "unknown"
        if one.carry.rate is None
        else f"{one.carry.rate:.5f} ({one.carry.rate_series})",
    }
    if spot is not None:
        shown["spot"] = spot
    if one.pins:
        told = [(pin.name, pin.published, pin.error, pin.reason or "met") for pin in one.pins]
        columns = ["index", "points", "surface_error", "verdict"]
        shown["indices"] = table(pl.DataFrame(told, schema=columns, orient="row"))
    if one.carry.dividend_yield is not None:
        shown["dividend_yield"] = one.carry.dividend_yield
    if not contracts.filter(pl.col("iv").is_not_null()).is_empty():
        shown |= _surface(one.analytics, str(one.part))
    return shown


def _surface(analytics: ChainAnalytics, title: str) -> dict[str, Any]:
    """Errors of the arbitrage-free surface that is fitted to the chain, and smile and surface."""
    import polars as pl

    from spy_assets.errors import DataError
    from spy_assets.options.chain_calibration import ChainQuotes, calibrate_to_chain
    from spy_assets.options.pictures import MarketSmile, draw, smile_chart, surface_grid

    years = analytics.forwards.select("root", "expiry", _years="years")
    points = (
        analytics.contracts.filter(
            pl.col("is_otm"), pl.col("iv").is_not_null(), ~pl.col("is_adjusted"), pl.col("bid") > 0
        )
        .join(years, on=["root", "expiry"], how="inner")
        .with_columns(k=(pl.col("strike") / pl.col("forward")).log())
    )
    quotes = ChainQuotes(*(points[name].to_numpy() for name in ("k", "_years", "iv")))
    try:
        fit = calibrate_to_chain(quotes)
    except DataError as error:
        return {"surface": f"not fitted: {error.message}"}
    by_expiry = [{"days": 365.0 * years, **_shown(e)} for years, e in fit.by_expiry.items()]
    by_deviation = [
        {"from_sd": low, "to_sd": high, **_shown(e)} for (low, high), e in fit.by_deviation.items()
    ]
    at = min(fit.by_expiry, key=lambda value: abs(365.0 * value - _SHOWN_DAYS))
    own = points.filter((pl.col("_years") - at).abs() < 1e-12).sort("k")
    market = MarketSmile(own["k"].to_numpy(), own["iv"].to_numpy())
    smile = smile_chart(fit.surface, at, title=f"{title}, {365.0 * at:.0f} days", market=market)
    longest = max(fit.by_expiry)
    grid = surface_grid(
        fit.surface, title=f"{title}, fitted surface", longest=longest, quotes=quotes
    )
    return {
        "surface_points": fit.errors.points,
        "surface_rmse_vol_points": fit.errors.rmse,
        "surface_rmse_near_vol_points": fit.errors.near,
        "surface_worst_vol_points": fit.errors.worst,
        "surface_by_expiry": table(pl.DataFrame(by_expiry), _ROWS),
        "surface_by_deviation": table(pl.DataFrame(by_deviation), _ROWS),
        "smile": picture(draw(smile)),
        "surface": picture(draw(grid)),
    }


def _shown(errors: Errors) -> dict[str, float]:
    """Errors of a part of the surface as they are shown, in volatility points."""
    return {"points": errors.points, "rmse": errors.rmse, "worst": errors.worst}


def stored(lake: Warehouse, parts: Collection[ChainPart]) -> frozenset[ChainPart]:
    """Those of the partitions that have a real chain in the warehouse."""
    if not parts:
        return frozenset()
    lake.ensure(TABLES[QUOTES])
    days = [part.session for part in parts]
    found = lake.execute(
        f"SELECT DISTINCT session, symbol FROM {QUOTES}"
        " WHERE quote_kind = 'chain' AND session BETWEEN ? AND ?",
        [min(days), max(days)],
    )
    return frozenset(map(ChainPart._make, found.iter_rows())) & frozenset(parts)


def load(lake: Warehouse, part: ChainPart) -> tuple[ChainAnalytics, str | None]:
    """A stored chain, the real one if there is one, and its kind; or nothing and None."""
    import polars as pl

    from spy_assets.options.chain import CHAIN_SCHEMA
    from spy_assets.options.chain_analytics import (
        ANALYTICS_SCHEMA,
        FORWARDS_SCHEMA,
        ChainAnalytics,
    )

    lake.ensure(TABLES[QUOTES])
    rows = lake.read(QUOTES, where="session = ? AND symbol = ?", params=part)
    kind = "chain" if "chain" in rows["quote_kind"] else "surface"
    rows = rows.filter(pl.col("quote_kind") == kind)
    schema = {**CHAIN_SCHEMA, **ANALYTICS_SCHEMA}
    contracts = rows.select(pl.col(name).cast(of) for name, of in schema.items())
    forwards = pl.DataFrame(schema=FORWARDS_SCHEMA)
    if rows.is_empty():
        return ChainAnalytics(contracts, forwards, None, "none"), None
    # Contracts that a later answer lacks stay with the spot of theirs; the chain's is the newest.
    newest = rows.sort("available_at", "ingested_at").row(-1, named=True)
    spot, source = newest["spot_used"], newest["spot_source"]
    return ChainAnalytics(contracts, forwards, spot, source), kind


class Volatility(NamedTuple):
    """`atm_iv_avg` of a session, of which kind of chain, and from when it was known."""

    session: date
    kind: str | None
    value: float | None
    available_at: datetime


def measure(
    lake: Warehouse, parts: Sequence[ChainPart]
) -> tuple[list[pl.DataFrame], list[ChainPart]]:
    """Rows of `features.chain`, and the partitions whose chain is lost, with the features that it had.

    Parameters
    ----------
    parts
        In order, as each looks back over the ones before.
    """
    import polars as pl

    from spy_assets.features.chain import chain_features
    from spy_assets.market.schemas import TIMESTAMP

    rows, lost, own = [], [], dict[str, list[Volatility]]()
    for part in parts:
        analytics, kind = load(lake, part)
        if kind is None and _measured_on_a_chain(lake, part):
            lost.append(part)
            continue
        moments = analytics.contracts["available_at"].to_list()
        moment: datetime = max(moments, default=sessions.decision_time(part.session))
        before = own.setdefault(part.symbol, [])
        history = volatilities(lake, part, kind, as_of=moment, own=before)
        row = chain_features(analytics, session=part.session, iv_history=history)
        before.append(Volatility(part.session, kind, row["atm_iv_avg"][0], moment))
        rows.append(
            row.with_columns(
                pl.lit(part.symbol).alias("symbol"),
                pl.lit(kind, pl.String).alias("quote_kind"),
                pl.lit(moment, TIMESTAMP).alias("available_at"),
                pl.lit("option_chain").alias("source"),
            )
        )
    return rows, lost


def _measured_on_a_chain(lake: Warehouse, part: ChainPart) -> bool:
    found = lake.execute(
        f"SELECT count(*) AS n FROM {FEATURES}"
        " WHERE session = ? AND symbol = ? AND quote_kind IS NOT NULL",
        part,
    )
    return bool(found["n"][0])


def volatilities(
    lake: Warehouse,
    part: ChainPart,
    kind: str | None,
    *,
    as_of: datetime,
    own: Sequence[Volatility],
) -> dict[date, float | None]:
    """Volatilities of the sessions before that were known at a moment, of chains of one kind.

    Model prices and real quotes are never ranked against each other.

    Parameters
    ----------
    own
        What the same run has measured so far, and not yet written.
    """
    from spy_assets.features.chain import rank_sessions

    if kind is None:
        return {}
    session, symbol = part
    measured = lake.read(
        FEATURES,
        as_of=as_of,
        where="symbol = ? AND session >= ? AND session < ?",
        params=(symbol, rank_sessions(session)[0], session),
    ).select("session", "quote_kind", "atm_iv_avg", "available_at")
    known = {one.session: one for one in map(Volatility._make, measured.iter_rows())}
    known |= {one.session: one for one in own if one.available_at <= as_of}
    return {day: one.value for day, one in known.items() if day < session and one.kind == kind}
