"""Rows 49 and 54 to 59 of the fault table: the registry is away, or a model must not be trusted."""

from __future__ import annotations

import io
import os
import pickle
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from spy_assets.errors import (
    ContractMismatch,
    ModelFileMismatch,
    NonFiniteOutput,
    RegistryUnavailable,
)
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.staleness import stale_reason
from spy_assets.models.policy.weights import (
    FileIdentity,
    decode_weights,
    encode_weights,
    load_weights,
    save_weights,
)
from spy_assets.registry import Registry
from spy_assets.settings import Settings
from spy_assets_tests.models.policies import (
    ALL,
    CONTRACT,
    MIDDLE,
    random_tensors,
    training_record,
    write_policy,
)
from spy_assets_tests.registry.templates import fresh_registry


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _tracking_server(port: int, home: Settings) -> Iterator[None]:
    """A real MLflow server on loopback, over a copy of the template database."""
    fresh_registry(home)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{home.mlruns_dir}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(home.mlruns_dir / "served")]
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        yield
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        assert server.poll() is None
        try:
            opener.open(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


@pytest.mark.slow
@pytest.mark.fault(49)
def test_trainings_wait_on_disk_while_mlflow_is_down(settings: Settings) -> None:
    port = _free_port()
    registry = Registry(settings, tracking_uri=f"http://127.0.0.1:{port}")
    records = [training_record("a"), training_record("b", seed=1)]
    logged = [registry.log_training(record) for record in records]
    assert [item.version for item in logged] == [None, None]
    assert all("does not answer" in str(item.reason) for item in logged)
    assert len(registry.spool.pending()) == 2

    with _tracking_server(port, settings):
        assert [item.version for item in registry.flush_spool()] == ["1", "2"]
        assert registry.spool.pending() == []
        assert registry.log_training(records[0]).version == "1"
        fetched = registry.fetch("2")
        assert fetched.path.read_bytes() == records[1].weights
        assert fetched.policy_hash == records[1].policy_hash

    with pytest.raises(RegistryUnavailable, match="start it"):
        registry.versions()


@pytest.mark.fault(49)
def test_a_local_database_that_is_gone_loses_nothing(settings: Settings) -> None:
    settings.mlruns_dir.parent.mkdir(parents=True, exist_ok=True)
    settings.mlruns_dir.write_text("not a folder")
    registry = Registry(settings)
    assert registry.log_training(training_record()).version is None
    settings.mlruns_dir.unlink()
    assert [item.version for item in fresh_registry(settings).flush_spool()] == ["1"]


@pytest.mark.fault(54)
@pytest.mark.parametrize("keep", [0, 1, 1_000, -1])
def test_a_truncated_file_names_both_sizes(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "p.npz"
    identity = write_policy(path)
    path.write_bytes(path.read_bytes()[:keep])
    size = path.stat().st_size
    with pytest.raises(ModelFileMismatch, match=rf"{size} bytes, {identity.size_bytes} are reg"):
        load_weights(path, identity, CONTRACT)


@pytest.mark.fault(54)
def test_a_registered_file_that_was_truncated_is_refused(settings: Settings) -> None:
    registry = fresh_registry(settings)
    registry.log_training(training_record())
    path = registry.fetch("1").path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelFileMismatch, match="bytes"):
        registry.load("1")


@pytest.mark.fault(55)
@pytest.mark.parametrize("position", [0, 100, 20_000, -30])
def test_one_flipped_bit_is_refused(tmp_path: Path, position: int) -> None:
    path = tmp_path / "p.npz"
    identity = write_policy(path)
    data = bytearray(path.read_bytes())
    data[position] ^= 0b100
    path.write_bytes(data)
    with pytest.raises(ModelFileMismatch, match="SHA-256"):
        load_weights(path, identity, CONTRACT)


class _Payload:
    """Unpickling this creates a file: the proof that code ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.proof),)


def _malicious_pickle(proof: Path) -> bytes:
    return pickle.dumps(_Payload(proof))


def _malicious_npz(proof: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, __header__=np.array([_Payload(proof)], dtype=object))
    return buffer.getvalue()


def _malicious_zip(proof: Path) -> bytes:
    """Laid out like an agent's zip with a pickled field."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data", pickle.dumps(_Payload(proof)))
        archive.writestr("policy.pth", pickle.dumps(_Payload(proof)))
    return buffer.getvalue()


@pytest.mark.fault(56)
@pytest.mark.parametrize("make", [_malicious_pickle, _malicious_npz, _malicious_zip])
def test_a_malicious_file_does_not_run(
    tmp_path: Path, make: object, request: pytest.FixtureRequest
) -> None:
    proof, path = tmp_path / "proof", tmp_path / "p.npz"
    data = make(proof)  # type: ignore[operator]
    path.write_bytes(data)
    with pytest.raises(ModelFileMismatch):
        load_weights(path, write_policy(tmp_path / "good.npz"), CONTRACT)
    # Even where someone has registered it as it is:
    with pytest.raises(ModelFileMismatch, match="not a weights file"):
        load_weights(path, FileIdentity.of(data), CONTRACT)
    assert not proof.exists()


@pytest.mark.fault(56)
def test_the_malicious_files_are_malicious(tmp_path: Path) -> None:
    pickle.loads(_malicious_pickle(tmp_path / "proof"))
    assert (tmp_path / "proof").exists()


@pytest.mark.fault(57)
def test_swapped_features_are_refused_and_named(tmp_path: Path) -> None:
    market = (CONTRACT.market[1], CONTRACT.market[0], *CONTRACT.market[2:])
    swapped = replace(CONTRACT, market=market)
    identity = save_weights(tmp_path / "p.npz", random_tensors(), swapped)
    with pytest.raises(ContractMismatch, match="dimension 0 was 'rsi14' and is 'price'"):
        load_weights(tmp_path / "p.npz", identity, CONTRACT)


@pytest.mark.fault(57)
@pytest.mark.parametrize("change", ["missing", "redefined"])
def test_other_schemas_are_refused(tmp_path: Path, change: str) -> None:
    redefined = (replace(CONTRACT.market[0], scaling="/ 1000"), *CONTRACT.market[1:])
    other = replace(CONTRACT, market=CONTRACT.market[1:] if change == "missing" else redefined)
    identity = save_weights(tmp_path / "p.npz", random_tensors(), other)
    words = "14 dimensions against 15" if change == "missing" else "other definitions"
    with pytest.raises(ContractMismatch, match=words):
        PolicyNet.load(tmp_path / "p.npz", identity, CONTRACT)


@pytest.mark.fault(58)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["action_net.weight", "mlp_extractor.policy_net.0.bias"])
def test_non_finite_logits_are_an_error_not_an_action(value: float, layer: str) -> None:
    tensors = random_tensors()
    tensors[layer].flat[0] = value
    net = PolicyNet.from_weights(decode_weights(encode_weights(tensors, CONTRACT)))
    if np.isinf(value) and "policy_net.0" in layer:  # tanh(inf) is 1: nothing is wrong
        assert net.probabilities(MIDDLE, ALL).sum() == pytest.approx(1.0)
        return
    with pytest.raises(NonFiniteOutput, match="hold"):
        net.act(MIDDLE, ALL)


@pytest.mark.fault(59)
def test_a_stale_model_gives_its_reason() -> None:
    reason = stale_reason(date(2018, 6, 29), date(2018, 12, 31), 90)
    assert reason is not None
    assert reason.startswith("stale_model: trained up to 2018-06-29, 126 sessions before")
    assert stale_reason(date(2018, 9, 28), date(2018, 12, 31), 90) is None
