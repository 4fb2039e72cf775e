"""What reacts to events: fresh features, matured outcomes, a new champion, failed runs."""

import dagster as dg

from spy_assets.defs import jobs
from spy_assets.defs.resources import SpyResource

RUNNING = dg.DefaultSensorStatus.RUNNING


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[jobs.refresh_history],
    request_job=jobs.daily_signal_job,
    default_status=RUNNING,
    description="When the session's features are there, ask for its signal.",
)
def features_ready(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Request the signal of the session that the refresh was for."""
    session = context.dagster_run.tags.get("spy/session")
    if session is None:
        return dg.SkipReason("the refresh was a backfill, not a session's own")
    return dg.RunRequest(run_key=f"signal-{session}", partition_key=session)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[jobs.train_daily],
    request_job=jobs.report_job,
    default_status=RUNNING,
    description="When a challenger is trained and judged, renew the registry's mirror.",
)
def challenger_judged(context: dg.RunStatusSensorContext) -> dg.RunRequest:
    """Request the report job."""
    return dg.RunRequest(run_key=f"judged-{context.dagster_run.run_id}")


@dg.sensor(
    job=jobs.report_job,
    minimum_interval_seconds=60,
    default_status=RUNNING,
    description="When outcomes have matured since the last tick, renew statistics and report.",
)
def outcomes_matured(
    context: dg.SensorEvaluationContext, spy: SpyResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the number of settled trades with the cursor."""
    with spy.warehouse() as lake:
        settled = lake.row_count("ledger.outcomes")
    known = int(context.cursor or 0)
    if settled <= known:
        return dg.SkipReason(f"no new outcome since the last tick ({settled} settled)")
    request = dg.RunRequest(run_key=f"outcomes-{settled}")
    return dg.SensorResult(run_requests=[request], cursor=str(settled))


@dg.sensor(
    job=jobs.daily_signal_job,
    minimum_interval_seconds=60,
    default_status=RUNNING,
    description="When another version became champion, ask it for the last session's signal.",
)
def champion_changed(
    context: dg.SensorEvaluationContext, spy: SpyResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the registry's champion with the cursor; the first look only remembers it."""
    version = spy.registry().alias("champion")
    if version is None:
        return dg.SkipReason("no champion yet")
    if version == context.cursor:
        return dg.SkipReason(f"version {version} is still champion")
    if context.cursor is None:
        return dg.SensorResult(skip_reason=f"champion is version {version}", cursor=version)
    session = spy.last_session()
    request = dg.RunRequest(run_key=f"champion-{version}", partition_key=session.isoformat())
    return dg.SensorResult(run_requests=[request], cursor=version)


@dg.run_failure_sensor(
    default_status=RUNNING,
    monitor_all_code_locations=False,
    description="Every failed run becomes one alert, to the log and to the webhook.",
)
def run_failed(context: dg.RunFailureSensorContext, spy: SpyResource) -> None:
    """Send one alert per failed run."""
    from spy_assets.alerts import alerter

    run = context.dagster_run
    alerter(spy.settings).send(
        key=f"run-{run.run_id}",
        title=f"{run.job_name} failed",
        text=context.failure_event.message or "no message",
        now=spy.utc_now(),
    )


SENSORS = [features_ready, challenger_judged, outcomes_matured, champion_changed, run_failed]
