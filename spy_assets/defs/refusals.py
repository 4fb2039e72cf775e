"""Checks that give a verdict, and steps that follow one: their failure is an answer, not a fault.

A refused challenger stops what would follow from its acceptance, by Dagster's own rule for a blocking
check, and so the run ends as failed. Nothing is broken and nothing is to be made again: what looks at
failed runs and at failed checks asks here whether it is a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import dagster as dg
from dagster import AssetCheckKey, DagsterEventType, DagsterInstance
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

#: In the metadata of a check's spec: its failure is a refusal.
VERDICT: Final = "verdict"
#: In the metadata of a check's result, or of a step's failure: what was refused, and why.
REFUSED: Final = "refused"
#: The error of a step one of whose blocking checks failed.
_CHECK_FAILED: Final = "DagsterAssetCheckFailedError"
#: Executions of a check that one query is asked for.
_PAGE: Final = 1_000


def gives_verdicts(spec: dg.AssetCheckSpec) -> bool:
    """Whether the failure of a check is a refusal."""
    return VERDICT in (spec.metadata or {})


def refusal(words: str) -> dg.Failure:
    """The failure of a step that follows a recorded refusal, where no check in its run tells of it."""
    return dg.Failure(words, metadata={REFUSED: words}, allow_retries=False)


def refusal_of(events: Iterable[dg.DagsterEvent]) -> str | None:
    """What a failed run refused, and why; None if anything else failed in it.

    Parameters
    ----------
    events
        All events of the run, or those of failed steps and of checks.
    """
    found = list(events)
    refused = [words for event in found if (words := _words(event)) is not None]
    broken = [event for event in found if _is_broken(event)]
    return "; ".join(refused) if refused and not broken else None


def refusal_of_run(instance: DagsterInstance, run_id: str) -> str | None:
    """What a run that has ended refused; see :func:`refusal_of`."""
    asked = {DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}
    logs = instance.all_logs(run_id, of_type=asked)
    return refusal_of(entry.dagster_event for entry in logs if entry.dagster_event is not None)


def refused_materializations(instance: DagsterInstance, check: AssetCheckKey) -> set[int]:
    """Storage ids of the materializations that a check refused; a warning refuses nothing."""
    found: set[int] = set()
    cursor: int | None = None
    while True:
        page = instance.event_log_storage.get_asset_check_execution_history(
            check, _PAGE, cursor, {AssetCheckExecutionRecordStatus.FAILED}
        )
        told = [one.evaluation for one in page if one.evaluation is not None]
        targets = [one.target_materialization_data for one in told if _stops(one)]
        found |= {target.storage_id for target in targets if target is not None}
        if len(page) < _PAGE:
            return found
        cursor = page[-1].id


def _words(event: dg.DagsterEvent) -> str | None:
    if event.event_type == DagsterEventType.STEP_FAILURE:
        return _told(_given(event))
    found = _failed_check(event)
    return None if found is None else _told(found.metadata)


def _given(event: dg.DagsterEvent) -> Mapping[str, Any]:
    """The metadata of a step's failure that the step itself raised."""
    given = event.step_failure_data.user_failure_data
    return {} if given is None else given.metadata


def _told(metadata: Mapping[str, Any]) -> str | None:
    told = metadata.get(REFUSED)
    return None if told is None else str(told.value)


def _is_broken(event: dg.DagsterEvent) -> bool:
    """Whether a step failed of something else, or a blocking check that gives no verdicts failed."""
    if event.event_type == DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
        known = REFUSED in _given(event) or (error is not None and error.cls_name == _CHECK_FAILED)
        return not known
    found = _failed_check(event)
    return found is not None and found.blocking and REFUSED not in found.metadata


def _failed_check(event: dg.DagsterEvent) -> Any | None:
    if event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    found = event.asset_check_evaluation_data
    return found if _stops(found) else None


def _stops(found: Any) -> bool:
    """Whether a check's result stops what follows, if the check blocks."""
    return not found.passed and found.severity == dg.AssetCheckSeverity.ERROR
