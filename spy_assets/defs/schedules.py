"""When things happen by themselves: after the close, weekly, and never on a source that has ended.

A schedule asks for the last session that is decided at its tick, so holidays and half days need no
rule of their own; the run key makes a second tick for one session harmless.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime

import dagster as dg

from spy_assets import sessions
from spy_assets.defs import jobs
from spy_assets.defs.partitions import ChainPart
from spy_assets.defs.resources import SpyResource

UTC = "UTC"
NEW_YORK = "America/New_York"
#: Five minutes after the decision time, so that a vendor that is late by seconds is not missed.
AFTER_DECISION = "5 22 * * *"
#: The session's key appears at 22:00; minutes come before the refresh, so that the signal that follows
#: it sees their gaps.
BEFORE_REFRESH = "1 22 * * *"
#: Days of January in which rows of the old year may still come out.
LATE_ROWS_DAYS = 7

Requests = Callable[[date], list[dg.RunRequest]]


def _tick(context: dg.ScheduleEvaluationContext) -> datetime:
    return sessions.require_aware(context.scheduled_execution_time)


def ended(spy: SpyResource) -> dg.SkipReason | None:
    """Why a live schedule has nothing to do on this source, or None."""
    settings = spy.settings
    if not settings.historical:
        return None
    return dg.SkipReason(
        f"source {settings.source!r} is history and gets no new sessions; "
        "set SPY_SOURCE to a live one, or materialize partitions by hand"
    )


def _session_of(moment: datetime) -> date | None:
    """The session that is decided on the UTC day of ``moment``, if there is one."""
    day = sessions.last_decided_session(moment)
    return day if day == moment.date() else None


def _daily(
    context: dg.ScheduleEvaluationContext, spy: SpyResource, requests: Requests
) -> list[dg.RunRequest] | dg.SkipReason:
    skip = ended(spy)
    if skip is not None:
        return skip
    moment = _tick(context)
    session = _session_of(moment)
    if session is None:
        return dg.SkipReason(f"{moment.date()} is not a session of XNYS, or not decided yet")
    return requests(session)


def _session_run(name: str) -> Requests:
    """One run of a session's partition; ``name`` keeps its run keys apart from other schedules'."""
    return lambda day: [dg.RunRequest(run_key=f"{name}-{day}", partition_key=day.isoformat())]


@dg.schedule(
    job=jobs.refresh_history,
    cron_schedule=AFTER_DECISION,
    execution_timezone=UTC,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="After each close: fetch what is missing of the year and compute its features. "
    "The signal follows when this has succeeded.",
)
def daily_refresh(
    context: dg.ScheduleEvaluationContext, spy: SpyResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request the running year's partition once a session."""
    return _daily(context, spy, _years_of)


def _years_of(session: date) -> list[dg.RunRequest]:
    """The session's year; in early January the one before as well.

    The last rates and put/call volumes of a year come out in the next one. The tag names the session
    whose signal follows, so it is on its own year only.
    """
    own = dg.RunRequest(
        run_key=f"history-{session}",
        partition_key=str(session.year),
        tags={"spy/session": str(session)},
    )
    if (session.month, session.day) > (1, LATE_ROWS_DAYS):
        return [own]
    before = session.year - 1
    return [dg.RunRequest(run_key=f"history-{session}-{before}", partition_key=str(before)), own]


@dg.schedule(
    job=jobs.refresh_minutes,
    cron_schedule=BEFORE_REFRESH,
    execution_timezone=UTC,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="After each close: the session's one-minute bars, which vendors keep for days only.",
)
def daily_minutes(
    context: dg.ScheduleEvaluationContext, spy: SpyResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request the session's minute partition."""
    return _daily(context, spy, _session_run("minutes"))


@dg.schedule(
    job=jobs.refresh_chain,
    cron_schedule=BEFORE_REFRESH,
    execution_timezone=UTC,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="After each close: the session's option chains, a run each, which most vendors show "
    "until the next open only. Nothing where no source of chains is set.",
)
def daily_chain(
    context: dg.ScheduleEvaluationContext, spy: SpyResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request the session's chain of each underlying."""
    if ended(spy) is None and spy.settings.chain_source is None:
        return dg.SkipReason("no source of option chains is set; SPY_CHAINS__SOURCE names one")
    return _daily(context, spy, lambda day: _chains_of(day, spy.settings.chain_symbols))


def _chains_of(session: date, symbols: Sequence[str]) -> list[dg.RunRequest]:
    """A run each, so that one underlying's failure keeps no other's chain back."""
    return [
        dg.RunRequest(
            run_key=f"chain-{symbol}-{session}", partition_key=ChainPart(session, symbol).key
        )
        for symbol in symbols
    ]


@dg.schedule(
    job=jobs.track_outcomes,
    cron_schedule="45 22 * * *",
    execution_timezone=UTC,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="After the signal: settle what ended in the session.",
)
def daily_outcomes(
    context: dg.ScheduleEvaluationContext, spy: SpyResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request the session's outcome partition."""
    return _daily(context, spy, _session_run("outcomes"))


@dg.schedule(
    job=jobs.train_daily,
    cron_schedule="0 18 * * 0",
    execution_timezone=NEW_YORK,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Sundays at 18:00 New York time: train on the window that ends with the last session "
    "and register a challenger.",
)
def weekly_retrain(
    context: dg.ScheduleEvaluationContext, spy: SpyResource
) -> dg.RunRequest | dg.SkipReason:
    """Request the training window that ends with the last session."""
    skip = ended(spy)
    if skip is not None:
        return skip
    day = sessions.last_decided_session(_tick(context))
    return dg.RunRequest(run_key=f"train-{day}", partition_key=day.isoformat())


@dg.schedule(
    job=jobs.maintain_warehouse,
    cron_schedule="0 6 * * 6",
    execution_timezone=UTC,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Saturdays: compact and check the warehouse.",
)
def weekly_maintenance(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the maintenance job."""
    return dg.RunRequest(run_key=f"maintenance-{_tick(context).date()}")


SCHEDULES = [
    daily_refresh,
    daily_minutes,
    daily_chain,
    daily_outcomes,
    weekly_retrain,
    weekly_maintenance,
]
