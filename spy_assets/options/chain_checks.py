"""Checks of a whole chain: whether it is complete, fresh, possible, and of the day that it says.

Each check is a pure function from frames to a :class:`Finding`. They look at a chain as it came, before
:func:`~spy_assets.options.chain.clean_chain` takes rows out, since what cleaning removes is evidence.

| check           | severity | fails if                                                            |
|-----------------|----------|---------------------------------------------------------------------|
| all_zero        | error    | nearly all quotes are zero or absent                                |
| expiries        | error    | an expiry that the exchange lists for sure is absent                |
| strikes         | error    | contracts of the day before are gone, or calls lack their puts      |
| wrong_session   | error    | last trades, quote times or expiries say that it is another day     |
| duplicate       | error    | quotes and volumes are those of another session                     |
| spot_range      | error    | the spot lies outside the strikes                                   |
| staleness       | error    | more than a tenth of the quotes are older than the limit            |
| crossed         | warn     | a bid is above its ask                                              |
| zero_bid        | warn     | more than 40 % of the contracts have no bid                         |
| parity          | warn     | call and put of a strike contradict their expiry's forward          |
| spot_agreement  | warn     | the vendor's spot is off the one that the quotes imply              |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

import polars as pl

from spy_assets.errors import DataError
from spy_assets.options.chain import LONGEST_LIFE, STALE_AFTER
from spy_assets.options.chain_analytics import (
    implied_forwards,
    implied_spot,
    parity_pairs,
    with_rate,
    with_years,
)
from spy_assets.options.expiries import (
    expiries_listed,
    is_0dte_available,
    missing_expiries,
    options_close,
)
from spy_assets.sessions import NEW_YORK, is_session, previous_session, session_open

Severity = Literal["error", "warn"]

#: A chain with fewer quotes above zero than this share is empty in all but name.
LIVE_SHARE = 0.05
#: Share of yesterday's living contracts that may be gone: deep strikes are delisted now and then.
LOST_SHARE = 0.02
#: Share of the strikes near the money that may lack their call or put. Exchanges list both (none is
#: missing in eight real CBOE chains); Yahoo leaves out what never traded: 11 to 14 % near the
#: money in four real snapshots, a third of all strikes.
UNPAIRED_SHARE = 0.20
#: "Near the money" there, relative to the spot.
UNPAIRED_NEAR = 0.05
#: Share of stale quotes that is still a chain.
STALE_SHARE = 0.10
#: Share of contracts without a bid; 5 to 6 % in eight real SPY chains.
ZERO_BID_SHARE = 0.40
#: Equal quotes and volumes of so many contracts are no accident: real neighbours share 0.2 % (CBOE),
#: or 10 % (Yahoo, whose volumes are of the last day that traded).
SAME_SHARE = 0.90
#: Slack of parity beyond quotes and American bounds: 3 basis points of the forward.
PARITY_SLACK = 3e-4
#: Distance of the vendor's spot to the implied one, relative. The quotes are of 16:15, a close is
#: of 16:00, and an after-hours price of any time: they differ by up to 0.5 % in real files.
SPOT_SLACK = 5e-3
#: Volume share that must have last traded on the session itself.
TRADED_SHARE = 0.5
#: Examples that a finding carries.
EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    passed: bool
    severity: Severity
    #: One sentence with the numbers that decided.
    message: str
    counts: Mapping[str, float] = field(default_factory=dict)
    #: Up to :data:`EXAMPLES` contracts, days or pairs concerned.
    examples: tuple[str, ...] = ()


def _examples(rows: pl.DataFrame, *names: str) -> tuple[str, ...]:
    head = rows.head(EXAMPLES).select(names)
    return tuple(" ".join(str(value) for value in row) for row in head.iter_rows())


def all_zero(chain: pl.DataFrame) -> Finding:
    """Fail a chain (or a snapshot before the open) without live quotes."""
    live = (pl.col("ask") > 0).fill_null(False) | (pl.col("bid") > 0).fill_null(False)
    priced = (pl.col("last") > 0).fill_null(False) & (pl.col("volume") > 0).fill_null(False)
    count = chain.filter(live | priced).height
    share = count / chain.height if chain.height else 0.0
    return Finding(
        "all_zero",
        chain.height > 0 and share >= LIVE_SHARE,
        "error",
        f"{count} of {chain.height} contracts have a price above zero",
        {"contracts": chain.height, "live": count},
    )


def expiries(chain: pl.DataFrame, *, root: str, session: date) -> Finding:
    """Fail if an expiry is absent that the exchange lists for sure; name unknown ones."""
    present = frozenset(chain.filter(pl.col("root") == root)["expiry"].drop_nulls().unique())
    missing = missing_expiries(root, session, present)
    listed = {expiry.day for expiry in expiries_listed(root, session)}
    unknown = sorted(day for day in present if day >= session and day not in listed)
    return Finding(
        "expiries",
        not missing,
        "error",
        f"{len(present)} expiries, {len(missing)} of those listed for sure are missing,"
        f" {len(unknown)} are in no listing rule",
        {"present": len(present), "missing": len(missing), "unlisted": len(unknown)},
        tuple(f"missing {day}" for day in missing[:EXAMPLES])
        + tuple(f"unlisted {day}" for day in unknown[:EXAMPLES]),
    )


def strikes(
    chain: pl.DataFrame,
    *,
    session: date,
    previous: pl.DataFrame | None = None,
    spot: float | None = None,
) -> Finding:
    """Fail if many contracts of the chain before are gone, or many calls lack their puts.

    Parameters
    ----------
    previous
        The last chain before this one, if there is one.
    spot
        Only strikes within 5 % of it are asked for both sides; without it all are.
    """
    key = ["root", "expiry", "strike"]
    near = (pl.col("strike") / spot - 1.0).abs() <= UNPAIRED_NEAR if spot else pl.lit(True)
    sides = chain.filter(near).group_by(key).agg(pl.col("right").n_unique().alias("sides"))
    single = sides.filter(pl.col("sides") < 2).sort(key)
    unpaired = single.height / max(sides.height, 1)
    due = chain.select("occ").clear() if previous is None else previous
    due = due.filter(pl.col("expiry") >= session) if previous is not None else due
    gone = due.join(chain.select("occ"), on="occ", how="anti").sort("occ")
    lost = gone.height / max(due.height, 1)
    return Finding(
        "strikes",
        chain.height > 0 and unpaired <= UNPAIRED_SHARE and lost <= LOST_SHARE,
        "error",
        f"{single.height} of {sides.height} strikes near the money have one side only; {gone.height} of"
        f" {due.height} contracts of the chain before are gone",
        {"strikes": sides.height, "one_sided": single.height, "gone": gone.height},
        _examples(gone, "occ") or _examples(single, *key),
    )


def staleness(
    chain: pl.DataFrame,
    *,
    session: date,
    as_of: datetime,
    root: str = "SPY",
    limit: timedelta = STALE_AFTER,
) -> Finding:
    """Fail if many quotes are older than `limit` when options stop trading, or at `as_of`."""
    oldest = min(as_of, options_close(session, root)) - limit
    stale = chain.filter(pl.col("quoted_at") < oldest).sort("quoted_at")
    undated = chain["quoted_at"].null_count()
    share = stale.height / max(chain.height, 1)
    return Finding(
        "staleness",
        share <= STALE_SHARE,
        "error",
        f"{stale.height} of {chain.height} quotes are older than {oldest.isoformat()},"
        f" {undated} have no time",
        {"stale": stale.height, "undated": undated},
        _examples(stale, "occ", "quoted_at"),
    )


def crossed(chain: pl.DataFrame) -> Finding:
    """Tell of bids above their asks (each of them goes to quarantine)."""
    found = chain.filter((pl.col("bid") > pl.col("ask")).fill_null(False)).sort("occ")
    return Finding(
        "crossed",
        found.is_empty(),
        "warn",
        f"{found.height} of {chain.height} quotes are crossed",
        {"crossed": found.height},
        _examples(found, "occ", "bid", "ask"),
    )


def zero_bid(chain: pl.DataFrame) -> Finding:
    """Tell of an unusual share of contracts that nobody bids for."""
    found = chain.filter((pl.col("bid") == 0).fill_null(False)).sort("occ")
    share = found.height / max(chain.height, 1)
    return Finding(
        "zero_bid",
        share <= ZERO_BID_SHARE,
        "warn",
        f"{found.height} of {chain.height} contracts have no bid ({share:.1%})",
        {"zero_bid": found.height},
        () if share <= ZERO_BID_SHARE else _examples(found, "occ", "ask"),
    )


def spot_range(chain: pl.DataFrame, spot: float | None) -> Finding:
    """Fail if the spot lies outside the strikes: another unit, another split, another symbol."""
    low, high = chain["strike"].min(), chain["strike"].max()
    inside = (
        spot is not None
        and isinstance(low, float)
        and isinstance(high, float)
        and low <= spot <= high
    )
    return Finding(
        "spot_range",
        inside,
        "error",
        f"the spot is {spot}, the strikes go from {low!r} to {high!r}",
        {"spot": spot or 0.0},
    )


def fingerprint(chain: pl.DataFrame) -> str:
    """SHA-256 of quotes and volumes by contract, whatever the file, its order and its date."""
    text = chain.sort("occ").select(
        pl.concat_str(
            pl.col("occ", "bid", "ask", "volume").cast(pl.String), separator="|", ignore_nulls=True
        )
    )
    return hashlib.sha256("\n".join(text.to_series()).encode()).hexdigest()


def same_share(chain: pl.DataFrame, other: pl.DataFrame) -> float:
    """Share of the traded contracts of both whose bid, ask and volume are equal.

    >>> frame = pl.DataFrame({"occ": ["a", "b"], "bid": [1.0, 2.0], "ask": [1.1, 2.1], "volume": [5, 6]})
    >>> same_share(frame, frame.with_columns(bid=pl.Series([1.0, 1.9])))
    0.5
    """
    names = ["bid", "ask", "volume"]
    traded = chain.filter(pl.col("volume") > 0).select("occ", *names)
    both = traded.join(other.select("occ", *names), on="occ", how="inner", suffix="_other")
    if both.is_empty():
        return 0.0
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_other")) for name in names)
    return both.filter(equal).height / both.height


def duplicate(
    chain: pl.DataFrame, others: Mapping[date, pl.DataFrame], *, session: date
) -> Finding:
    """Fail if quotes and volumes are those of another session's chain.

    Of two equal chains the one whose volume last traded on its own session is the original, and
    passes; the copies are named.

    Parameters
    ----------
    others
        Chains of other sessions, by session.
    """
    shares = {day: same_share(chain, other) for day, other in sorted(others.items())}
    copied = [day for day, share in shares.items() if share >= SAME_SHARE]
    top = max(shares.values(), default=0.0)
    exact = [day for day in copied if fingerprint(others[day]) == fingerprint(chain)]
    original = traded_day(chain) == session
    return Finding(
        "duplicate",
        not copied or original,
        "error",
        f"{top:.1%} of the traded contracts have the quotes and volume of another session"
        + (", which is a copy of this one" if copied and original else ""),
        {"compared": len(shares), "copies": len(copied), "exact": len(exact)},
        tuple(f"{day}: {shares[day]:.1%}" for day in copied[:EXAMPLES]),
    )


def traded_day(chain: pl.DataFrame) -> date | None:
    """The New York day on which most of the volume last traded; None without trades.

    A contract's volume is of the session, so that its last trade is too.
    """
    trades = chain.filter((pl.col("volume") > 0) & pl.col("last_at").is_not_null())
    day = pl.col("last_at").dt.convert_time_zone(NEW_YORK.key).dt.date().alias("day")
    volumes = trades.group_by(day).agg(pl.col("volume").sum()).sort("volume", descending=True)
    return None if volumes.is_empty() else volumes["day"][0]


def _day_quoted(chain: pl.DataFrame) -> date | None:
    """The session whose market the quotes show: the last one that had opened by then."""
    newest = chain["quoted_at"].max()
    if not isinstance(newest, datetime):
        return None
    day = newest.astimezone(NEW_YORK).date()
    return day if is_session(day) and session_open(day) <= newest else previous_session(day)


def _evidence(chain: pl.DataFrame, root: str, session: date) -> dict[str, str]:
    """What speaks against `session`, by kind."""
    found: dict[str, str] = {}
    traded, quoted = traded_day(chain), _day_quoted(chain)
    if traded is not None and traded != session:
        found["last_trades"] = f"the volume last traded on {traded}"
    if quoted is not None and quoted != session:
        found["quote_time"] = f"the quotes are of {quoted}"
    days = chain.filter(pl.col("root") == root)["expiry"].drop_nulls()
    first = days.min()
    if isinstance(first, date) and first < session:
        found["expired"] = (
            f"{(days < session).sum()} contracts expired before, the first on {first}"
        )
    if is_0dte_available(root, session) and not (days == session).any():
        found["no_0dte"] = f"no contract expires on {session}, though one is listed"
    return found


def wrong_session(chain: pl.DataFrame, *, root: str, session: date) -> Finding:
    """Fail if the chain's own content says that it is of another day.

    The evidence: the day on which its volume last traded, the day of its quotes, contracts that
    expired before, the absence of a contract that expires on the day. Any one of them is enough.
    """
    found = _evidence(chain, root, session)
    if not is_session(session):
        found["closed"] = f"{session} is no session"
    traded = traded_day(chain)
    said = "; ".join(found.values()) or f"everything agrees with {session}"
    belongs = (f"belongs to {traded}",) if found and traded is not None else ()
    return Finding(
        "wrong_session", not found, "error", said, {"contradictions": len(found)}, belongs
    )


def parity(chain: pl.DataFrame, *, rate: float, dividend_yield: float) -> Finding:
    """Tell of calls and puts that contradict the forward of their expiry.

    With the bid of one and the ask of the other, a pair's forward lies between
    K + (C_bid - P_ask) / D and K + (C_ask - P_bid) / D. American premiums lower it by up to
    K (1/D - 1) and raise it by up to the dividends. What lies outside of that, and of 3 basis points,
    is a breach.
    """
    timed = with_rate(with_years(chain), rate)
    forwards = implied_forwards(timed).select("root", "expiry", implied="forward")
    pairs = parity_pairs(timed).join(forwards, on=["root", "expiry"], how="inner")
    grown = (pl.col("rate") * pl.col("years")).exp()
    width = pl.col("half_spread") * grown
    slack = pl.col("implied") * PARITY_SLACK
    early_put = pl.max_horizontal("strike", "implied") * (grown - 1.0).abs()
    early_call = pl.col("implied") * (dividend_yield * pl.col("years")).exp() - pl.col("implied")
    above = pl.col("forward") - width - (pl.col("implied") + early_put + early_call + slack)
    below = pl.col("implied") - early_put - slack - (pl.col("forward") + width)
    judged = pairs.drop_nulls("implied").with_columns(breach=pl.max_horizontal(above, below))
    found = judged.filter(pl.col("breach") > 0).sort("breach", descending=True)
    return Finding(
        "parity",
        found.is_empty(),
        "warn",
        f"{found.height} of {judged.height} pairs break put-call parity",
        {"pairs": judged.height, "breaches": found.height},
        _examples(found.with_columns(pl.col("breach").round(2)), "expiry", "strike", "breach"),
    )


def spot_agreement(
    chain: pl.DataFrame, *, spot: float | None, rate: float, dividend_yield: float
) -> Finding:
    """Tell if the vendor's spot is not the one that the nearest expiries imply."""
    timed = with_rate(with_years(chain), rate)
    implied = implied_spot(implied_forwards(timed), dividend_yield)
    if implied is None or spot is None:
        return Finding("spot_agreement", True, "warn", f"spot {spot}, implied {implied}")
    gap = spot / implied - 1.0
    return Finding(
        "spot_agreement",
        abs(gap) <= SPOT_SLACK,
        "warn",
        f"the spot is {spot:.2f}, the quotes imply {implied:.2f} ({gap:+.2%})",
        {"spot": spot, "implied": implied},
    )


def check_chain(
    chain: pl.DataFrame,
    *,
    root: str,
    session: date,
    as_of: datetime,
    rate: float | None,
    dividend_yield: float | None,
    spot: float | None = None,
    previous: pl.DataFrame | None = None,
    others: Mapping[date, pl.DataFrame] | None = None,
) -> list[Finding]:
    """Run all checks on the chain of one session, as it came.

    Parameters
    ----------
    chain
        Rows in :data:`~spy_assets.options.chain.CHAIN_SCHEMA`, before cleaning.
    rate, dividend_yield
        Continuous, decimals per year. Where one is None, `parity` and `spot_agreement` say that they
        could not be judged.
    spot
        Price of the underlying on the session; by default the median of the chain's own column.
    previous, others
        The chain before, and chains of other sessions, for comparison.

    Raises
    ------
    DataError
        If the chain has another root than `root`, or the session is unknown to the calendar.
    """
    roots = set(chain["root"].drop_nulls().unique())
    if roots and root not in roots:
        raise DataError(f"the chain has the roots {sorted(roots)}, not {root!r}")
    known = spot if spot is not None else _median(chain["spot"])
    findings = [
        all_zero(chain),
        wrong_session(chain, root=root, session=session),
        duplicate(chain, others or {}, session=session),
        expiries(chain, root=root, session=session),
        strikes(chain, session=session, previous=previous, spot=known),
        crossed(chain),
        zero_bid(chain),
        spot_range(chain, known),
    ]
    if is_session(session):
        findings.append(staleness(chain, session=session, as_of=as_of, root=root))
    if rate is None or dividend_yield is None:
        lacking = "rate" if rate is None else "dividend yield"
        message = f"not judged: no {lacking} is known"
        names = ("parity", "spot_agreement")
        return [*findings, *(Finding(name, False, "warn", message) for name in names)]
    days = pl.Series([day for day in chain["session"].drop_nulls().unique() if is_session(day)])
    sound = chain.filter(
        pl.col("session").is_in(days.cast(pl.Date).implode())
        & (pl.col("strike") > 0)
        & (pl.col("expiry") <= pl.col("session").dt.offset_by(LONGEST_LIFE))
    )
    return [
        *findings,
        parity(sound, rate=rate, dividend_yield=dividend_yield),
        spot_agreement(sound, spot=known, rate=rate, dividend_yield=dividend_yield),
    ]


def _median(values: pl.Series) -> float | None:
    median = values.drop_nulls().median()
    return median if isinstance(median, float) else None


def blocking(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that forbid publication."""
    return [finding for finding in findings if not finding.passed and finding.severity == "error"]
