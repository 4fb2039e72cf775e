from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import ModelFileMismatch
from spy_assets.models.composite import CompositeWeights, VoteRule, encode_composite
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import PolicyWeights, decode_weights, encode_weights
from spy_assets.registry import Registry, SeedRun
from spy_assets.settings import Settings, load_settings
from spy_assets.simulator.actions import DEFINED_RISK
from spy_assets.simulator.mandate import Mandate
from spy_assets_tests.models.policies import (
    ALL,
    CONTRACT,
    MIDDLE,
    random_net,
    random_tensors,
    seed_runs,
    training_record,
)
from spy_assets_tests.registry.templates import fresh_registry


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return fresh_registry(settings)


def runs(registry: Registry) -> list[Any]:
    with registry._session() as client:
        experiment = client.get_experiment_by_name(registry.profile)
        return list(client.search_runs([experiment.experiment_id]))


def test_a_training_becomes_a_version_with_its_provenance(registry: Registry) -> None:
    record = training_record()
    logged = registry.log_training(record)
    row = registry.versions().row(0, named=True)
    assert logged.version == row["version"] == "1"
    assert row["policy_hash"] == record.policy_hash
    assert (row["train_start"], row["train_end"]) == (date(2014, 1, 2), date(2018, 9, 28))
    assert (row["lake_snapshot"], row["dagster_run_id"]) == (12, "run-1")
    assert (row["contract"], row["contract_sha256"]) == (CONTRACT.name, CONTRACT.sha256)
    assert row["mlflow_run_id"] == logged.run_id
    assert registry.spool.pending() == []


def test_the_same_training_is_the_same_version(registry: Registry) -> None:
    first = registry.log_training(training_record())
    assert registry.log_training(training_record()) == first
    assert registry.versions().height == 1
    assert len(runs(registry)) == 3


def test_another_window_or_policy_is_another_version(registry: Registry) -> None:
    versions = [
        registry.log_training(record).version
        for record in (training_record(), training_record("2018-10-31"), training_record(seed=1))
    ]
    assert versions == ["1", "2", "3"]
    assert registry.versions()["version"].to_list() == versions


def test_seeds_are_nested_runs_with_their_curves(registry: Registry) -> None:
    logged = registry.log_training(training_record())
    seeds = [run for run in runs(registry) if run.data.tags["kind"] == "seed"]
    assert {run.data.tags["mlflow.parentRunId"] for run in seeds} == {logged.run_id}
    assert {run.data.params["seed"] for run in seeds} == {"42", "84"}
    with registry._session() as client:
        curve = client.get_metric_history(seeds[0].info.run_id, "value_loss")
    assert [(m.step, m.value) for m in curve] == [(100 * k, 1 / k) for k in range(1, 6)]


def test_the_parent_names_its_data_and_shows_its_curve(registry: Registry) -> None:
    logged = registry.log_training(training_record())
    with registry._session() as client:
        run = client.get_run(logged.run_id)
        artifacts = {item.path for item in client.list_artifacts(logged.run_id)}
    assert run.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]
    assert run.data.params["n_steps"] == "1024"
    assert run.data.tags["lake_snapshot"] == "12"
    assert run.info.status == "FINISHED"
    assert "learning_curve.png" in artifacts


def test_aliases_move_and_show_in_versions(registry: Registry) -> None:
    for partition in ("a", "b"):
        registry.log_training(training_record(partition))
    assert registry.alias("champion") is None
    registry.set_alias("champion", "1")
    registry.set_alias("champion", "2")
    registry.set_alias("challenger", "1")
    frame = registry.versions()
    assert registry.alias("champion") == "2"
    assert frame["is_active"].to_list() == [False, True]
    assert frame["aliases"].to_list() == [["challenger"], ["champion"]]


def test_a_fetched_version_is_the_policy_that_was_logged(registry: Registry) -> None:
    registry.log_training(training_record(seed=3))
    net = registry.load("1")
    expected = random_net(3).probabilities(MIDDLE, ALL)
    np.testing.assert_array_equal(net.probabilities(MIDDLE, ALL), expected)
    assert registry.fetch("1").train_end == date(2018, 9, 28)


def test_an_unknown_version_lists_the_known(registry: Registry) -> None:
    registry.log_training(training_record())
    with pytest.raises(ModelFileMismatch, match=r"no version '7'; it has \['1'\]"):
        registry.fetch("7")


def test_a_lost_artifact_is_a_model_error(registry: Registry) -> None:
    registry.log_training(training_record())
    registry.fetch("1").path.unlink()
    with pytest.raises(ModelFileMismatch, match=r"policy\.npz"):
        registry.load("1")


def test_mlflow_serves_the_same_probabilities(registry: Registry) -> None:
    import mlflow

    registry.log_training(training_record())
    model = mlflow.pyfunc.load_model(f"models:/{registry.name}/1")
    served = model.predict({"observation": MIDDLE[None], "mask": ALL[None]})
    np.testing.assert_array_equal(served[0], random_net().probabilities(MIDDLE, ALL))


def test_several_policies_are_registered_loaded_and_served_as_one(registry: Registry) -> None:
    import mlflow

    parts = {str(seed): random_net(seed).weights for seed in (1, 2)}
    vote = CompositeWeights(parts, VoteRule({"1": 0.5, "2": 0.5}, 0.0))
    record = training_record(
        policy_hash=vote.policy_hash, weights=encode_composite(vote, CONTRACT), seed=0, seeds=[]
    )
    logged = registry.log_training(record)
    assert registry.log_training(record).version == logged.version == "1"
    expected = (
        random_net(1).probabilities(MIDDLE, ALL) + random_net(2).probabilities(MIDDLE, ALL)
    ) / 2
    recorded = registry.load_recorded("1", record.identity, CONTRACT.name)
    for policy in (registry.load("1"), recorded):
        assert policy.weights.policy_hash == vote.policy_hash
        np.testing.assert_allclose(policy.probabilities(MIDDLE, ALL), expected)
    served = mlflow.pyfunc.load_model(f"models:/{registry.name}/1").predict(
        {"observation": MIDDLE[None], "mask": ALL[None]}
    )
    np.testing.assert_allclose(served[0], expected)


def wide(seed: int) -> PolicyWeights:
    """A policy of the ten structures of defined risk, HOLD and CLOSE."""
    tensors = random_tensors(seed, actions=len(DEFINED_RISK))
    return decode_weights(encode_weights(tensors, CONTRACT, mandate=Mandate.of(DEFINED_RISK, 1)))


@pytest.mark.parametrize("several", [False, True])
def test_mlflow_serves_as_many_actions_as_the_policy_has(registry: Registry, several: bool) -> None:
    import mlflow

    one = wide(1)
    vote = CompositeWeights({"1": one, "2": wide(2)}, VoteRule({"1": 1.0, "2": 0.0}, 0.0))
    single = encode_weights(one.tensors, CONTRACT, mandate=one.mandate)
    weights = encode_composite(vote, CONTRACT) if several else single
    registry.log_training(training_record(weights=weights, mandate=one.mandate))
    model, mask = mlflow.pyfunc.load_model(f"models:/{registry.name}/1"), np.ones(12, dtype=bool)
    served = model.predict({"observation": MIDDLE[None], "mask": mask[None]})
    expected = PolicyNet.from_weights(one).probabilities(MIDDLE, mask)
    np.testing.assert_allclose(served[0], expected)


def test_the_signature_refuses_float64(registry: Registry) -> None:
    import mlflow

    registry.log_training(training_record())
    model = mlflow.pyfunc.load_model(f"models:/{registry.name}/1")
    with pytest.raises(mlflow.exceptions.MlflowException, match="float64"):
        model.predict({"observation": MIDDLE[None].astype(np.float64), "mask": ALL[None]})


def test_no_pickle_is_stored_or_allowed(registry: Registry, settings: Settings) -> None:
    registry.log_training(training_record())
    files = {path.suffix for path in settings.mlruns_dir.rglob("*") if path.is_file()}
    assert not files & {".pkl", ".pickle", ".zip", ".cloudpickle"}
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_profiles_do_not_see_each_other(settings: Settings, registry: Registry) -> None:
    registry.log_training(training_record())
    other = Registry(load_settings(home=settings.home, profile="other"))
    assert other.versions().is_empty()
    assert other.versions().schema == registry.versions().schema


def test_an_empty_registry_has_a_typed_frame(registry: Registry) -> None:
    frame = registry.versions()
    assert frame.schema["train_end"] == pl.Date
    assert frame.is_empty()


def test_runs_that_were_left_half_done_are_replaced(registry: Registry) -> None:
    record = training_record()
    with registry._session() as client:
        experiment = registry._experiment(client)
        client.create_run(experiment, tags={"record_id": record.record_id})
    registry.log_training(record)
    assert sorted(run.data.tags["kind"] for run in runs(registry)) == ["seed", "seed", "training"]


def test_importing_the_registry_is_light() -> None:
    code = (
        "import sys, spy_assets.registry; heavy = ('mlflow', 'torch', 'polars', 'pandas'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_recorded_version_is_loaded_without_mlflow(registry: Registry) -> None:
    record = training_record()
    registry.log_training(record)
    shutil.rmtree(registry.folder)
    net = registry.load_recorded("1", record.identity, record.contract)
    assert net.weights.policy_hash == record.policy_hash


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_bad_copy_is_fetched_again(registry: Registry, damage: str) -> None:
    record = training_record()
    registry.log_training(record)
    (copy,) = registry.downloads.glob("*.npz")
    copy.unlink() if damage == "gone" else copy.write_bytes(b"something else")
    net = registry.load_recorded("1", record.identity, record.contract)
    assert net.weights.policy_hash == record.policy_hash
    assert copy.read_bytes() == record.weights


def test_the_registry_cannot_put_another_file_under_a_recorded_version(registry: Registry) -> None:
    logged, recorded = training_record(), training_record(seed=1)
    registry.log_training(logged)
    with pytest.raises(ModelFileMismatch, match=f"{recorded.identity.sha256} is registered"):
        registry.load_recorded("1", recorded.identity, recorded.contract)
    assert not registry._kept(recorded.identity).exists()


def test_a_spooled_training_waits_for_the_registry_of_its_own_model(registry: Registry) -> None:
    other = training_record(model="a2c_daily")
    registry.spool.put(other)
    assert registry.flush_spool() == []
    assert len(registry.spool.pending()) == 1
    registry.model, registry.name = other.model, other.registered_name
    assert [logged.record_id for logged in registry.flush_spool()] == [other.record_id]
    assert registry.spool.pending() == []


def test_every_seed_of_a_version_can_be_run_again(registry: Registry) -> None:
    registry.log_training(training_record(seeds=seed_runs(84, 42)))
    found = registry.load_seeds("1")
    assert list(found) == [42, 84]
    for seed, net in found.items():
        expected = random_net(seed).probabilities(MIDDLE, ALL)
        np.testing.assert_array_equal(net.probabilities(MIDDLE, ALL), expected)


def test_the_weights_of_seeds_change_no_identity(registry: Registry) -> None:
    plain, with_seeds = training_record(), training_record(seeds=seed_runs(42, 84))
    assert with_seeds.version_tags() == plain.version_tags()
    registry.log_training(plain)
    assert registry.log_training(with_seeds).version == "1"


@pytest.mark.parametrize("before", [[], seed_runs(42), training_record().seeds])
def test_a_training_that_ends_in_the_same_policy_gives_its_seeds_to_the_version(
    registry: Registry, before: list[SeedRun]
) -> None:
    """None were kept, one was trained, or they were logged before their weights were kept."""
    registry.log_training(training_record(seeds=before))
    for _ in range(2):
        assert registry.log_training(training_record(seeds=seed_runs(42, 84))).version == "1"
        assert list(registry.load_seeds("1")) == [42, 84]
    kinds = [run.data.tags["kind"] for run in runs(registry)]
    assert sorted(kinds) == ["seed", "seed", "training"]


def test_fewer_seeds_take_none_away(registry: Registry) -> None:
    for seeds in (seed_runs(42, 84), seed_runs(42)):
        registry.log_training(training_record(seeds=seeds))
    assert list(registry.load_seeds("1")) == [42, 84]


def test_a_seed_that_was_left_half_done_is_logged_again(registry: Registry) -> None:
    record = training_record(seeds=seed_runs(42, 84))
    registry.log_training(record)
    (seed, *_) = [run for run in runs(registry) if run.data.tags["kind"] == "seed"]
    with registry._session() as client:
        client.update_run(seed.info.run_id, status="RUNNING")
    registry.log_training(record)
    assert list(registry.load_seeds("1")) == [42, 84]
    assert {run.info.status for run in runs(registry)} == {"FINISHED"}


def test_trainings_of_one_policy_that_wait_together_all_give_their_seeds(
    registry: Registry,
) -> None:
    for seeds in (seed_runs(42), seed_runs(42, 84)):
        registry.spool.put(training_record(seeds=seeds))
    assert [logged.version for logged in registry.flush_spool()] == ["1", "1"]
    assert list(registry.load_seeds("1")) == [42, 84]


def test_a_version_names_every_search_that_found_it(registry: Registry) -> None:
    for search, tried in (("ppo a", 20), ("ppo b", 7), ("ppo a", 50), ("ppo b", 3)):
        said = {"search": search, "search_trials": tried}
        registry.log_training(training_record(hyperparameters=said))
    registry.log_training(training_record())
    assert registry.versions().select("search", "search_trials").rows() == [
        ("ppo a; ppo b", "50; 7")
    ]


def test_weights_of_seeds_reach_the_registry_by_the_spool_too(registry: Registry) -> None:
    registry.spool.put(training_record(seeds=seed_runs(42, 84)))
    registry.flush_spool()
    assert list(registry.load_seeds("1")) == [42, 84]


@pytest.mark.parametrize("damage", ["gone", "other"])
def test_a_seed_whose_file_is_gone_or_another_is_a_model_error(
    registry: Registry, damage: str
) -> None:
    registry.log_training(training_record(seeds=seed_runs(42, 84)))
    files = sorted(registry.folder.glob("artifacts/**/policy.npz"))
    (seed,) = [file for file in files if file.read_bytes() == seed_runs(84)[0].weights]
    seed.unlink() if damage == "gone" else seed.write_bytes(b"other")
    with pytest.raises(ModelFileMismatch, match=r"policy\.npz"):
        registry.load_seeds("1")


def test_a_version_says_by_which_search_it_was_tuned(registry: Registry) -> None:
    registry.log_training(training_record())
    registry.log_training(
        training_record(seed=1, hyperparameters={"search": "ppo 2018-09-28", "search_trials": 50})
    )
    found = registry.versions().select("search", "search_trials")
    assert found.rows() == [(None, None), ("ppo 2018-09-28", "50")]
