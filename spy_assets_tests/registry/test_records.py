from __future__ import annotations

import json
from pathlib import Path

import pytest

from spy_assets.errors import ModelFileMismatch
from spy_assets.registry import Spool, TrainingRecord
from spy_assets.simulator.actions import DEFINED_RISK
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate
from spy_assets_tests.models.policies import seed_runs, training_record

WIDE = Mandate.of(DEFINED_RISK, 3)


def test_json_round_trip() -> None:
    record = training_record()
    again = TrainingRecord.from_json(record.to_json(), record.weights)
    assert again.to_json() == record.to_json()
    assert again.version_tags() == record.version_tags()


def test_json_refuses_other_weights() -> None:
    record = training_record()
    with pytest.raises(ModelFileMismatch):
        TrainingRecord.from_json(record.to_json(), record.weights[:-1])


def test_weights_of_seeds_are_named_and_checked() -> None:
    record = training_record(seeds=seed_runs(42, 84))
    weights = {run.seed: run.weights or b"" for run in record.seeds}
    again = TrainingRecord.from_json(record.to_json(), record.weights, weights)
    assert [run.weights for run in again.seeds] == list(weights.values())
    for broken in ({42: weights[42]}, weights | {84: weights[42]}):
        with pytest.raises(ModelFileMismatch, match="weights of seed 84"):
            TrainingRecord.from_json(record.to_json(), record.weights, broken)


def test_a_record_of_before_the_weights_of_seeds_were_kept_is_read() -> None:
    record = training_record()
    old = json.loads(record.to_json())
    for run in old["seeds"]:
        del run["weights"]
    again = TrainingRecord.from_json(json.dumps(old), record.weights)
    assert [(run.seed, run.weights) for run in again.seeds] == [(42, None), (84, None)]


def test_the_spool_keeps_the_weights_of_seeds(tmp_path: Path) -> None:
    spool, record = Spool(tmp_path), training_record(seeds=seed_runs(42, 84))
    folder = spool.put(record)
    assert [run.weights for run in spool.read(folder).seeds] == [
        run.weights for run in record.seeds
    ]
    (folder / "seed_84.npz").write_bytes(b"other")
    with pytest.raises(ModelFileMismatch, match="weights of seed 84"):
        spool.read(folder)


def test_the_same_window_and_policy_are_the_same_record() -> None:
    record = training_record(lake_snapshot=99, dagster_run_id="later")
    assert record.record_id == training_record().record_id
    assert record.record_id != training_record("2018-10-31").record_id


def test_the_same_policy_for_another_mandate_is_another_record() -> None:
    record = training_record(mandate=WIDE)
    assert record.record_id != training_record().record_id
    assert TrainingRecord.from_json(record.to_json(), record.weights).mandate == WIDE
    tags = record.version_tags()
    assert (tags["actions"], tags["max_positions"]) == ("defined_risk", "3")
    assert Mandate.recorded(tags) == WIDE


def test_what_was_spooled_before_there_were_mandates_is_of_the_daily_one() -> None:
    record = training_record()
    old = json.loads(record.to_json())
    del old["mandate"]
    assert TrainingRecord.from_json(json.dumps(old), record.weights).mandate == DAILY_MANDATE


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
