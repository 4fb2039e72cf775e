from __future__ import annotations

from pathlib import Path

import pytest

from spy_assets.errors import ModelFileMismatch
from spy_assets.registry import Spool, TrainingRecord
from spy_assets_tests.models.policies import training_record


def test_json_round_trip() -> None:
    record = training_record()
    again = TrainingRecord.from_json(record.to_json(), record.weights)
    assert again.to_json() == record.to_json()
    assert again.version_tags() == record.version_tags()


def test_json_refuses_other_weights() -> None:
    record = training_record()
    with pytest.raises(ModelFileMismatch):
        TrainingRecord.from_json(record.to_json(), record.weights[:-1])


def test_the_same_window_and_policy_are_the_same_record() -> None:
    record = training_record(lake_snapshot=99, dagster_run_id="later")
    assert record.record_id == training_record().record_id
    assert record.record_id != training_record("2018-10-31").record_id


def test_spool_keeps_order_and_forgets(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.pending() == []
    paths = [spool.put(training_record(name)) for name in ("b", "a", "b")]
    assert paths[0] == paths[2]
    assert [spool.read(path).partition for path in spool.pending()] == ["b", "a"]
    spool.remove(paths[0])
    assert [spool.read(path).partition for path in spool.pending()] == ["a"]


def test_spool_ignores_what_a_killed_writer_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / ".abc.123.partial").mkdir()
    spool.put(training_record())
    assert len(spool.pending()) == 1
