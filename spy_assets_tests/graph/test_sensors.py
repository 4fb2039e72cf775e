"""What reacts to events, each event made by a real run and each alert sent over a real socket."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from spy_assets.alerts import alerter
from spy_assets.definitions import build
from spy_assets.defs import refusals, sensors
from spy_assets.defs.resources import SpyResource
from spy_assets.settings import load_settings
from spy_assets_tests.graph.worlds import World, write
from spy_assets_tests.models.policies import training_record
from spy_assets_tests.registry.templates import fresh_registry
from spy_assets_tests.test_alerts import Webhook

SESSION = "2018-12-31"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as opened:
        yield opened


def ran(
    instance: dg.DagsterInstance, name: str, *, fails: bool = False, **tags: str
) -> dg.ExecuteInProcessResult:
    """A real run of a job of that name."""

    @dg.op
    def work() -> None:
        if fails:
            raise ConnectionError("vendor away")

    @dg.job(name=name, tags=tags)
    def job() -> None:
        work()

    return job.execute_in_process(instance=instance, raise_on_error=False)


def after(
    instance: dg.DagsterInstance, sensor: Any, result: dg.ExecuteInProcessResult, **resources: Any
) -> Any:
    """What a run status sensor answers to the end of a run."""
    kind = dg.DagsterEventType.RUN_SUCCESS if result.success else dg.DagsterEventType.RUN_FAILURE
    (event,) = [event for event in result.all_events if event.event_type == kind]
    with dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=event,
        resources=resources,
    ) as context:
        return sensor(context.for_run_failure() if not result.success else context)


def tick(sensor: Any, home: Path, cursor: str | None = None, **changes: Any) -> Any:
    """What a sensor answers on a profile."""
    spy = SpyResource(overrides={"home": str(home), **changes})
    with dg.build_sensor_context(cursor=cursor, resources={"spy": spy}) as context:
        return sensor(context)


def told(sensor: dg.SensorDefinition, home: Path, cursor: str | None = None) -> Any:
    """What Dagster takes of a sensor's answer: an empty cursor, for one, leaves the one before."""
    spy = SpyResource(overrides={"home": str(home)})
    context = dg.build_sensor_context(
        cursor=cursor, resources={"spy": spy}, definitions=build(SpyResource())
    )
    with context:
        return sensor.evaluate_tick(context)


def test_fresh_features_ask_for_the_signal_of_their_session(instance: dg.DagsterInstance) -> None:
    result = ran(instance, "refresh_history", **{"spy/session": SESSION})
    request = after(instance, sensors.features_ready, result)
    assert (request.partition_key, request.run_key) == (SESSION, f"signal-{SESSION}")


def test_a_backfill_of_features_asks_for_nothing(instance: dg.DagsterInstance) -> None:
    answer = after(instance, sensors.features_ready, ran(instance, "refresh_history"))
    assert "backfill" in answer.skip_message


def test_a_failed_refresh_asks_for_the_signal_that_holds(instance: dg.DagsterInstance) -> None:
    result = ran(instance, "refresh_history", fails=True, **{"spy/session": SESSION})
    (event,) = [
        event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE
    ]
    with dg.build_run_status_sensor_context(
        sensor_name="features_failed",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=event,
    ) as context:
        request = sensors.features_failed(context)
    assert (request.partition_key, request.run_key) == (SESSION, f"signal-{SESSION}")


def test_a_promotion_renews_the_mirror_by_its_condition(instance: dg.DagsterInstance) -> None:
    defs, mirror = build(SpyResource()), dg.AssetKey(["models", "model_versions"])

    def asked(cursor: Any = None) -> Any:
        return dg.evaluate_automation_conditions(
            defs, instance, asset_selection=dg.AssetSelection.assets(mirror), cursor=cursor
        )

    first = asked()
    assert first.get_num_requested(mirror) == 0
    promotion = dg.AssetMaterialization(["models", "promotions"], partition="2018-10-04")
    instance.report_runless_asset_event(promotion)
    assert asked(first.cursor).get_num_requested(mirror) == 1


def outcome(signal_id: str) -> dict[str, Any]:
    from spy_assets.sessions import decision_time
    from spy_assets_tests.graph.worlds import LAST

    return {
        "signal_id": signal_id, "symbol": "SPY", "exit_session": LAST, "pnl": 1.0,
        "was_profitable": True, "available_at": decision_time(LAST), "source": "sample",
    }  # fmt: skip


def test_outcomes_are_told_once(tmp_path: Path) -> None:
    nothing = tick(sensors.outcomes_matured, tmp_path)
    assert "0 settled" in nothing.skip_message
    settings = load_settings(home=tmp_path)
    write(settings, "ledger.outcomes", [outcome("a"), outcome("b")])
    first = tick(sensors.outcomes_matured, tmp_path)
    assert ([r.run_key for r in first.run_requests], first.cursor) == (["outcomes-2"], "2")
    again = tick(sensors.outcomes_matured, tmp_path, cursor=first.cursor)
    assert "no new outcome" in again.skip_message
    write(settings, "ledger.outcomes", [outcome("c")])
    third = tick(sensors.outcomes_matured, tmp_path, cursor=first.cursor)
    assert ([r.run_key for r in third.run_requests], third.cursor) == (["outcomes-3"], "3")


@pytest.mark.slow
def test_a_new_champion_is_asked_once_for_the_last_session(world: World) -> None:
    home = world.settings.home
    first = tick(sensors.champion_changed, home)
    (request,) = first.run_requests
    assert (request.run_key, request.partition_key) == (f"champion-1-{SESSION}", SESSION)
    assert first.cursor == "1"
    assert "still champion" in tick(sensors.champion_changed, home, cursor="1").skip_message


def test_without_a_model_there_is_no_champion(tmp_path: Path) -> None:
    assert told(sensors.champion_changed, tmp_path).skip_message == "no champion"


def test_a_champion_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    registry = fresh_registry(load_settings(home=tmp_path))
    version = registry.log_training(training_record()).version
    assert version is not None
    cursor, asked = None, []
    for seated in (True, True, False, False, True):
        registry.set_alias("champion", version) if seated else registry.drop_alias("champion")
        found = told(sensors.champion_changed, tmp_path, cursor)
        cursor, asked = found.cursor, [*asked, len(found.run_requests)]
    assert asked == [1, 0, 0, 0, 1]


@pytest.mark.fault(39)
def test_a_job_that_keeps_failing_is_one_alert_until_it_succeeds(
    instance: dg.DagsterInstance,
    webhook: Webhook,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spy = SpyResource(overrides={"home": str(tmp_path), "alert_webhook": webhook.url})
    with caplog.at_level(logging.ERROR, "spy_assets.alerts"):
        for _ in range(2):
            failed = ran(instance, "refresh_history", fails=True)
            after(instance, sensors.run_failed, failed, spy=spy)
    assert [body["title"] for body in webhook.received] == ["refresh_history failed"]
    assert "refresh_history failed" in caplog.text
    assert "s3cret" not in caplog.text

    recovered = after(instance, sensors.run_recovered, ran(instance, "refresh_history"), spy=spy)
    assert "incident closed" in recovered.skip_message
    failed = ran(instance, "refresh_history", fails=True)
    after(instance, sensors.run_failed, failed, spy=spy)
    assert len(webhook.received) == 2
    assert failed.run_id in webhook.received[1]["detail"]


def test_two_jobs_that_fail_are_two_alerts(
    instance: dg.DagsterInstance, webhook: Webhook, tmp_path: Path
) -> None:
    spy = SpyResource(overrides={"home": str(tmp_path), "alert_webhook": webhook.url})
    for name in ("refresh_history", "train_daily"):
        after(instance, sensors.run_failed, ran(instance, name, fails=True), spy=spy)
    assert len(webhook.received) == 2
    healthy = after(instance, sensors.run_recovered, ran(instance, "report"), spy=spy)
    assert "incident none" in healthy.skip_message


@pytest.mark.parametrize("tag", ["dagster/partition", "dagster/asset_partition_range_start"])
def test_a_sound_chain_does_not_close_the_incident_of_another(
    instance: dg.DagsterInstance, webhook: Webhook, tmp_path: Path, tag: str
) -> None:
    spy = SpyResource(overrides={"home": str(tmp_path), "alert_webhook": webhook.url})
    failed = ran(instance, "refresh_chain", fails=True, **{tag: f"{SESSION}|QQQ"})
    after(instance, sensors.run_failed, failed, spy=spy)
    for symbol, told in (("SPY", "none"), ("QQQ", "closed")):
        sound = ran(instance, "refresh_chain", **{tag: f"{SESSION}|{symbol}"})
        skipped = after(instance, sensors.run_recovered, sound, spy=spy)
        assert f"incident {told}" in skipped.skip_message
    assert len(webhook.received) == 1


def refusing(
    instance: dg.DagsterInstance, name: str, *, before: bool = False
) -> dg.ExecuteInProcessResult:
    """A real run of a job of that name in which a challenger is refused, or had been ``before``."""
    gate = dg.AssetCheckSpec("gate", asset="judged", blocking=True)
    words = "challenger refused: version 3: no trades"
    told = {refusals.REFUSED: words}

    @dg.asset(check_specs=[gate])
    def judged() -> dg.MaterializeResult:
        if before:
            raise refusals.refusal(words)
        found = dg.AssetCheckResult(passed=False, metadata=told)
        return dg.MaterializeResult(check_results=[found])

    job = dg.Definitions(assets=[judged], jobs=[dg.define_asset_job(name)]).resolve_job_def(name)
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_a_refusal_is_news_and_not_an_incident(
    instance: dg.DagsterInstance, webhook: Webhook, tmp_path: Path
) -> None:
    spy = SpyResource(overrides={"home": str(tmp_path), "alert_webhook": webhook.url})
    after(instance, sensors.run_failed, ran(instance, "train_daily", fails=True), spy=spy)
    for before in (False, True):
        refused = refusing(instance, "train_daily", before=before)
        after(instance, sensors.run_failed, refused, spy=spy)
    words = [(body["severity"], body["detail"]) for body in webhook.received]
    assert words[1:] == [("info", "challenger refused: version 3: no trades")] * 2
    assert alerter(spy.settings).open_incidents() == []


def test_all_sensors_start_running() -> None:
    assert {one.default_status for one in sensors.SENSORS} == {dg.DefaultSensorStatus.RUNNING}
