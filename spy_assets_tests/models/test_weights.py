from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ModelFileMismatch
from spy_assets.models.policy.weights import (
    FileIdentity,
    atomic_file,
    decode_weights,
    encode_weights,
    load_weights,
    policy_hash,
    save_weights,
)
from spy_assets.simulator.actions import DEFINED_RISK
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate
from spy_assets_tests.models.policies import CONTRACT, random_tensors


def test_round_trip_keeps_tensors_hash_and_header(tmp_path: Path) -> None:
    tensors = random_tensors()
    identity = save_weights(tmp_path / "p.npz", tensors, CONTRACT, extra={"seed": 42})
    weights = load_weights(tmp_path / "p.npz", identity, CONTRACT)
    assert weights.policy_hash == policy_hash(tensors)
    assert (weights.contract, weights.contract_sha) == (CONTRACT.name, CONTRACT.sha256)
    assert weights.extra == {"seed": 42}
    assert all(np.array_equal(weights.tensors[name], tensors[name]) for name in tensors)


def test_equal_policies_give_equal_bytes() -> None:
    assert encode_weights(random_tensors(), CONTRACT) == encode_weights(random_tensors(), CONTRACT)


def test_a_mandate_goes_with_the_file_and_the_daily_one_leaves_it_as_it_was() -> None:
    tensors, wide = random_tensors(), Mandate.of(DEFINED_RISK, 3)
    plain = encode_weights(tensors, CONTRACT)
    assert encode_weights(tensors, CONTRACT, mandate=DAILY_MANDATE) == plain
    assert decode_weights(plain).mandate == DAILY_MANDATE
    assert decode_weights(encode_weights(tensors, CONTRACT, mandate=wide)).mandate == wide


def test_hash_of_torch_and_numpy_agree() -> None:
    import torch

    tensors = random_tensors()
    assert policy_hash({k: torch.from_numpy(v) for k, v in tensors.items()}) == policy_hash(tensors)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(random_tensors())), st.integers(0, 6), st.floats(0.001, 10))
def test_hash_sees_every_change(name: str, position: int, change: float) -> None:
    tensors = random_tensors()
    before = policy_hash(tensors)
    tensors[name].flat[position % tensors[name].size] += np.float32(change)
    assert policy_hash(tensors) != before


def test_hash_sees_names_order_and_shape() -> None:
    a, b = np.zeros(4, np.float32), np.ones(4, np.float32)
    hashes = {
        policy_hash({"a": a, "b": b}),
        policy_hash({"b": b, "a": a}),
        policy_hash({"a": a, "c": b}),
        policy_hash({"a": a.reshape(2, 2), "b": b}),
    }
    assert len(hashes) == 4


def test_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMismatch, match=r"none\.npz"):
        load_weights(tmp_path / "none.npz", FileIdentity("0" * 64, 1), CONTRACT)


def test_header_that_contradicts_the_tensors_is_refused() -> None:
    changed = random_tensors()
    data = bytearray(encode_weights(changed, CONTRACT))
    at = data.index(changed["action_net.weight"].tobytes())
    data[at] ^= 1
    with pytest.raises(ModelFileMismatch):
        decode_weights(bytes(data))


def _write_and_fail(path: Path) -> None:
    with atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError("power cut")


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="power"):
        _write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_identity_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FileIdentity.of(b"x").size_bytes = 2  # type: ignore[misc]
