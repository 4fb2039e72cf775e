"""What reacts to events: fresh features, matured outcomes, a new champion, failed runs."""

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG

from spy_assets.defs import jobs, refusals
from spy_assets.defs.partitions import ChainPart
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

RUNNING = dg.DefaultSensorStatus.RUNNING
#: The cursor while nobody is champion: no version, and not empty, which Dagster would not keep.
NO_CHAMPION = "none"


def _signal_of(refresh: dg.DagsterRun) -> dg.RunRequest | dg.SkipReason:
    """The request for the signal of the session that a refresh was for."""
    session = refresh.tags.get("spy/session")
    if session is None:
        return dg.SkipReason("the refresh was a backfill, not a session's own")
    return dg.RunRequest(run_key=f"signal-{session}", partition_key=session)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[jobs.refresh_history],
    request_job=jobs.daily_signal_job,
    default_status=RUNNING,
    description="When the session's features are there, ask for its signal.",
)
def features_ready(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Request the signal of the session that the refresh was for."""
    return _signal_of(context.dagster_run)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.FAILURE,
    monitored_jobs=[jobs.refresh_history],
    request_job=jobs.daily_signal_job,
    default_status=RUNNING,
    description="When a session's refresh has failed for good, its signal is HOLD, with the reason.",
)
def features_failed(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Request the signal of the session whose refresh failed: it holds, and says why."""
    return _signal_of(context.dagster_run)


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
        lake.ensure(TABLES["ledger.outcomes"])
        settled = lake.row_count("ledger.outcomes")
    known = int(context.cursor or 0)
    if settled == known:  # fewer than known is a restored backup, and news as well
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
    """Compare the registry's champion with the cursor, so that one who comes back is asked again."""
    version = spy.registry().alias("champion")
    if version is None:
        return dg.SensorResult(skip_reason="no champion", cursor=NO_CHAMPION)
    if version == context.cursor:
        return dg.SkipReason(f"version {version} is still champion")
    session = spy.last_session()
    request = dg.RunRequest(
        run_key=f"champion-{version}-{session}", partition_key=session.isoformat()
    )
    return dg.SensorResult(run_requests=[request], cursor=version)


@dg.run_failure_sensor(
    default_status=RUNNING,
    monitor_all_code_locations=False,
    description="A job that fails becomes one alert, to the log and to the webhook, until it succeeds. "
    "A refused challenger is told as news, and is no failure.",
)
def run_failed(context: dg.RunFailureSensorContext, spy: SpyResource) -> None:
    """Send one alert per job that fails, however often it fails before it succeeds again.

    A run that ends with a refusal did all that it had to do: it is told once, and closes the incident.
    """
    from spy_assets.alerts import alerter

    run, sender = context.dagster_run, alerter(spy.settings)
    refused = refusals.refusal_of_run(context.instance, run.run_id)
    if refused is not None:
        sender.resolve(_incident(run))
        news = f"refused:{run.run_id}"
        sender.send(key=news, title=run.job_name, text=refused, now=spy.utc_now(), severity="info")
        sender.resolve(news)
        return
    sender.send(
        key=_incident(run),
        title=f"{run.job_name} failed",
        text=f"run {run.run_id}: {context.failure_event.message or 'no message'}",
        now=spy.utc_now(),
    )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=RUNNING,
    monitor_all_code_locations=False,
    description="A job that succeeds again closes its incident, so that its next failure is told.",
)
def run_recovered(context: dg.RunStatusSensorContext, spy: SpyResource) -> dg.SkipReason:
    """Close the incident of the job, if one is open."""
    from spy_assets.alerts import alerter

    run = context.dagster_run
    closed = alerter(spy.settings).resolve(_incident(run))
    return dg.SkipReason(f"{run.job_name}: incident {'closed' if closed else 'none'}")


def _incident(run: dg.DagsterRun) -> str:
    """The job's; of chains one an underlying, so that a sound one does not close another's."""
    key = run.tags.get(PARTITION_NAME_TAG) or run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or ""
    symbol = f":{ChainPart.of(key).symbol}" if ChainPart.is_key(key) else ""
    return f"run_failed:{run.job_name}{symbol}"


mirror_registry = dg.AutomationConditionSensorDefinition(
    "mirror_registry",
    target=dg.AssetSelection.assets(["models", "model_versions"]),
    default_status=RUNNING,
    description="Renews the registry's mirror by its automation condition, after each promotion.",
)

SENSORS: list[dg.SensorDefinition] = [
    features_ready,
    features_failed,
    outcomes_matured,
    champion_changed,
    run_failed,
    run_recovered,
    mirror_registry,
]
