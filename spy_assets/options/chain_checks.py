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
| staleness       | error    | the snapshot is too old, or a tenth of it is of a day before        |
|                 | warn     | what should move does not: near the money, or a whole expiry        |
| crossed         | warn     | a bid is above its ask                                              |
| zero_bid        | warn     | more than 40 % of the contracts have no bid                         |
| parity          | warn     | call and put of a strike contradict their expiry's forward          |
| spot_agreement  | warn     | the vendor's spot is off the one that the quotes imply              |

A check that lacks what it has to look at does not pass: it fails as a warning, whatever its severity,
and its message begins with `not judged` (:func:`not_judged`). So it is seen, and blocks nothing. A
chain of trades (:func:`only_trades`) lists what was traded on the day; what is not in it may be listed
all the same, so that completeness is not judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

import polars as pl

from spy_assets.errors import DataError
from spy_assets.options.chain import (
    LONGEST_LIFE,
    STALE_AFTER,
    fresh_since,
    stale_before,
    trading_days,
)
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
    is_expiry,
    missing_expiries,
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
#: Quotes so near the money, relative to the spot, move all the time: if more than this share of them
#: is older than the limit, the feed may have stopped.
MOVING_NEAR = 0.02
MOVING_SHARE = 0.50
#: Share of the quotes that must have a time, else their age is not judged.
DATED_SHARE = 0.50
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
    #: Whether there was something to look at; if not, it has not passed, and blocks nothing.
    judged: bool = True


def not_judged(name: str, why: str) -> Finding:
    """What a check says that lacks what it has to look at."""
    return Finding(name, False, "warn", f"not judged: {why}", judged=False)


def _examples(rows: pl.DataFrame, *names: str) -> tuple[str, ...]:
    head = rows.head(EXAMPLES).select(names)
    return tuple(" ".join(str(value) for value in row) for row in head.iter_rows())


def _quoted(chain: pl.DataFrame) -> pl.DataFrame:
    """The contracts with a bid or an ask, be it 0."""
    return chain.filter(pl.any_horizontal(pl.col("bid", "ask").is_not_null()))


def only_trades(chain: pl.DataFrame) -> bool:
    """Whether the chain lists trades: contracts without any quote or open interest (flat files)."""
    told = chain.select(pl.col("bid", "ask", "open_interest").count()).row(0)
    return chain.height > 0 and not any(told)


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
    days = chain.filter(pl.col("root") == root)["expiry"]
    closed = sorted(day for day in days.drop_nulls().unique() if not is_expiry(day))
    present = frozenset(trading_days(days).drop_nulls())
    missing = missing_expiries(root, session, present)
    if missing and only_trades(chain):
        return not_judged(
            "expiries", f"nothing was traded of {len(missing)} expiries listed for sure"
        )
    listed = {expiry.day for expiry in expiries_listed(root, session)}
    unknown = sorted(day for day in present if day >= session and day not in listed)
    return Finding(
        "expiries",
        not missing,
        "error",
        f"{len(present)} expiries, {len(missing)} of those listed for sure are missing,"
        f" {len(unknown)} are in no listing rule, {len(closed)} are on no session",
        {
            "present": len(present),
            "missing": len(missing),
            "unlisted": len(unknown),
            "closed": len(closed),
        },
        tuple(f"missing {day}" for day in missing[:EXAMPLES])
        + tuple(f"unlisted {day}" for day in unknown[:EXAMPLES])
        + tuple(f"closed {day}" for day in closed[:EXAMPLES]),
    )


def strikes(
    chain: pl.DataFrame,
    *,
    session: date,
    previous: pl.DataFrame | None = None,
    spot: float | None = None,
) -> Finding:
    """Fail if many contracts of the chain before are gone, or many calls lack their puts.

    A chain of trades is not judged. Without a chain before, only calls and puts are.

    Parameters
    ----------
    previous
        The last chain before this one, if there is one.
    spot
        Only strikes within 5 % of it are asked for both sides; without it all are.
    """
    if only_trades(chain):
        return not_judged("strikes", "the chain lists trades, and few contracts trade each day")
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
        f"{single.height} of {sides.height} strikes near the money have one side only; "
        + (
            "there is no chain before"
            if previous is None
            else f"{gone.height} of {due.height} contracts of the chain before are gone"
        ),
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
    spot: float | None = None,
) -> Finding:
    """Fail if the snapshot is old, or many of its quotes are; warn of what does not move.

    A quote's time is when it last changed, so that the newest quote tells the snapshot's age. Of a
    fresh snapshot quotes from before the session's open are stale
    (:func:`~spy_assets.options.chain.stale_before`). A warning is given if most quotes near the money,
    or all quotes with a bid of an expiry, are older than `limit` when options stop trading, or at
    `as_of`.

    Parameters
    ----------
    spot
        Without it nothing is near the money.
    """
    quoted = _quoted(chain)
    oldest = fresh_since(session, as_of, root, limit)
    before = stale_before(quoted["quoted_at"], session=session, as_of=as_of, root=root, limit=limit)
    stale = quoted.filter(pl.col("quoted_at") < before).sort("quoted_at")
    undated = quoted["quoted_at"].null_count()
    dated = quoted.height - undated
    # Where most quotes have no time, the others still fail for all if they alone are too many.
    known = dated > 0 and dated >= DATED_SHARE * quoted.height
    if not known and stale.height <= STALE_SHARE * quoted.height:
        return not_judged("staleness", f"{undated} of {quoted.height} quotes have no time")
    old = quoted.filter((pl.col("quoted_at") >= before) & (pl.col("quoted_at") < oldest)).height
    message = (
        f"{stale.height} of {dated} quotes are older than {before.isoformat()},"
        f" {undated} have no time"
    )
    counts = {"stale": stale.height, "undated": undated, "old": old}
    if not known or stale.height > STALE_SHARE * dated:
        shown = _examples(stale, "occ", "quoted_at")
        return Finding("staleness", False, "error", message, counts, shown)
    still, halted = _unmoved(quoted, session, oldest, spot)
    if still or not halted.is_empty():
        message += f"; since {oldest.isoformat()} nothing moved in {halted.height} expiries{still}"
        shown = _examples(halted, "root", "expiry", "quoted_at")
        return Finding("staleness", False, "warn", message, counts, shown)
    shown = _examples(stale, "occ", "quoted_at")
    return Finding("staleness", True, "error", message, counts, shown)


def _unmoved(
    quoted: pl.DataFrame, session: date, oldest: datetime, spot: float | None
) -> tuple[str, pl.DataFrame]:
    """Whether most quotes near the money are old, in words, and the expiries in which all are.

    Of an expiry only quotes with a bid count; one that settled at the open is none.
    """
    dated = quoted.drop_nulls("quoted_at")
    near = dated.filter((pl.col("strike") / spot - 1.0).abs() <= MOVING_NEAR) if spot else None
    still = 0 if near is None else near.filter(pl.col("quoted_at") < oldest).height
    told = ""
    if near is not None and still > MOVING_SHARE * near.height:
        told = f", and not in {still} of {near.height} quotes near the money"
    trading = (pl.col("expiry") > session) | (pl.col("settlement") == "PM")
    newest = (
        dated.filter((pl.col("bid") > 0) & trading)
        .group_by("root", "expiry")
        .agg(pl.col("quoted_at").max())
    )
    return told, newest.filter(pl.col("quoted_at") < oldest).sort("root", "expiry")


def crossed(chain: pl.DataFrame) -> Finding:
    """Tell of bids above their asks (each of them goes to quarantine)."""
    sided = chain.drop_nulls(["bid", "ask"])
    if sided.is_empty():
        return not_judged("crossed", "no contract has both bid and ask")
    found = sided.filter(pl.col("bid") > pl.col("ask")).sort("occ")
    return Finding(
        "crossed",
        found.is_empty(),
        "warn",
        f"{found.height} of {sided.height} quotes are crossed",
        {"crossed": found.height},
        _examples(found, "occ", "bid", "ask"),
    )


def zero_bid(chain: pl.DataFrame) -> Finding:
    """Tell of an unusual share of contracts that nobody bids for."""
    told = chain.drop_nulls("bid")
    if told.is_empty():
        return not_judged("zero_bid", "the chain has no bids")
    found = told.filter(pl.col("bid") == 0).sort("occ")
    share = found.height / told.height
    return Finding(
        "zero_bid",
        share <= ZERO_BID_SHARE,
        "warn",
        f"{found.height} of {told.height} contracts have no bid ({share:.1%})",
        {"zero_bid": found.height},
        () if share <= ZERO_BID_SHARE else _examples(found, "occ", "ask"),
    )


def spot_range(chain: pl.DataFrame, spot: float | None) -> Finding:
    """Fail if the spot lies outside the strikes: another unit, another split, another symbol."""
    if spot is None:
        return not_judged("spot_range", "no spot is known")
    low, high = chain["strike"].min(), chain["strike"].max()
    inside = isinstance(low, float) and isinstance(high, float) and low <= spot <= high
    return Finding(
        "spot_range",
        inside,
        "error",
        f"the spot is {spot}, the strikes go from {low!r} to {high!r}",
        {"spot": spot},
    )


def fingerprint(chain: pl.DataFrame) -> str:
    """SHA-256 of quotes and volumes by contract, whatever the file, its order and its date."""
    text = chain.sort("occ").select(
        pl.concat_str(
            pl.col("occ", "bid", "ask", "volume").cast(pl.String), separator="|", ignore_nulls=True
        )
    )
    return hashlib.sha256("\n".join(text.to_series()).encode()).hexdigest()


_QUOTE = ("bid", "ask", "volume")


def _traded_in_both(chain: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The traded contracts of a chain that another one has too, with the quotes of both."""
    traded = chain.filter(pl.col("volume") > 0).select("occ", *_QUOTE)
    return traded.join(other.select("occ", *_QUOTE), on="occ", how="inner", suffix="_other")


def _equal_share(both: pl.DataFrame) -> float:
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_other")) for name in _QUOTE)
    return both.filter(equal).height / max(both.height, 1)


def same_share(chain: pl.DataFrame, other: pl.DataFrame) -> float:
    """Share of the traded contracts of both whose bid, ask and volume are equal.

    >>> frame = pl.DataFrame({"occ": ["a", "b"], "bid": [1.0, 2.0], "ask": [1.1, 2.1], "volume": [5, 6]})
    >>> same_share(frame, frame.with_columns(bid=pl.Series([1.0, 1.9])))
    0.5
    """
    return _equal_share(_traded_in_both(chain, other))


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
    pairs = {day: _traded_in_both(chain, other) for day, other in sorted(others.items())}
    shares = {day: _equal_share(both) for day, both in pairs.items() if not both.is_empty()}
    if not shares:
        lacking = "no traded contract is in another chain" if others else "there is no other chain"
        return not_judged("duplicate", lacking)
    copied = [day for day, share in shares.items() if share >= SAME_SHARE]
    top = max(shares.values())
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
    newest = _quoted(chain)["quoted_at"].max()
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
    days = trading_days(chain.filter(pl.col("root") == root)["expiry"]).drop_nulls()
    first = days.min()
    if isinstance(first, date) and first < session:
        found["expired"] = (
            f"{(days < session).sum()} contracts expired before, the first on {first}"
        )
    complete = not only_trades(chain)
    if complete and is_0dte_available(root, session) and not (days == session).any():
        found["no_0dte"] = f"no contract expires on {session}, though one is listed"
    return found


def wrong_session(chain: pl.DataFrame, *, root: str, session: date) -> Finding:
    """Fail if the chain's own content says that it is of another day.

    The evidence: the day on which its volume last traded, the day of its quotes, contracts that
    expired before, the absence of a contract that expires on the day. Any one of them is enough.
    Without any of them, nor a contract that expires on the day, it is not judged.
    """
    found = _evidence(chain, root, session)
    if not is_session(session):
        found["closed"] = f"{session} is no session"
    traded = traded_day(chain)
    ends = trading_days(chain.filter(pl.col("root") == root)["expiry"])
    if not found and traded is None and _day_quoted(chain) is None and session not in ends:
        return not_judged("wrong_session", "no trade, quote or expiry tells the day")
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
    if judged.is_empty():
        return not_judged("parity", "no expiry has a forward from calls and puts")
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
        lacking = "no spot is known" if spot is None else "no expiry within ten days tells it"
        return not_judged("spot_agreement", lacking)
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
        findings.append(staleness(chain, session=session, as_of=as_of, root=root, spot=known))
    if rate is None or dividend_yield is None:
        lacking = "rate" if rate is None else "dividend yield"
        names = ("parity", "spot_agreement")
        return [*findings, *(not_judged(name, f"no {lacking} is known") for name in names)]
    days = pl.Series([day for day in chain["session"].drop_nulls().unique() if is_session(day)])
    sound = chain.filter(
        trading_days(chain["expiry"]).is_not_null(),
        pl.col("session").is_in(days.cast(pl.Date).implode())
        & (pl.col("strike") > 0)
        & (pl.col("expiry") <= pl.col("session").dt.offset_by(LONGEST_LIFE)),
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
    """The findings that forbid publication; what was not judged never does."""
    return [finding for finding in findings if not finding.passed and finding.severity == "error"]
