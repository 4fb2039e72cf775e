"""Policies as files that hold numbers and nothing else.

A weights file is an ``.npz`` archive of plain arrays and one JSON header, read with
``allow_pickle=False``: there is no code path from its bytes to the interpreter. It is read only
against the size and SHA-256 that were registered for it, and only under the observation contract it
was trained on. Two different hashes name a policy:

* ``policy_hash``: over the ordered tensors, the same however they are stored; says *which policy*.
* ``sha256`` of the file: says *which bytes*, and is checked before anything is parsed.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ContractMismatch, ModelFileMismatch
from spy_assets.features.contracts import ObservationContract
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate

FORMAT = "spy-policy-npz-1"
_HEADER = "__header__"

Array = npt.NDArray[Any]
#: What reading an archive raises whose bytes were cut or changed, or that never was one.
_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, MemoryError,
    OverflowError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError, OSError,
    tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Size and SHA-256 of a file, as registered."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> FileIdentity:
        """Identity of the bytes ``data``."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    def check(self, data: bytes, name: str) -> None:
        """Refuse ``data`` unless it is exactly the registered file.

        Raises
        ------
        ModelFileMismatch
            Naming the expected and the actual size, or both digests.
        """
        actual = FileIdentity.of(data)
        hint = "fetch the file from the registry again, or train again; never load it as it is"
        if actual.size_bytes != self.size_bytes:
            raise ModelFileMismatch(
                f"{name} has {actual.size_bytes} bytes, {self.size_bytes} are registered", hint=hint
            )
        if actual.sha256 != self.sha256:
            raise ModelFileMismatch(
                f"{name} has SHA-256 {actual.sha256}, {self.sha256} is registered", hint=hint
            )


@dataclass(frozen=True)
class PolicyWeights:
    """A policy's tensors and what they belong to."""

    tensors: Mapping[str, Array]
    contract: str
    contract_sha: str
    observation: tuple[str, ...]
    activation: str
    extra: Mapping[str, Any]

    @property
    def policy_hash(self) -> str:
        """See :func:`policy_hash`."""
        return policy_hash(self.tensors)

    @property
    def mandate(self) -> Mandate:
        """What the account may trade that the policy was trained for."""
        return Mandate.recorded(self.extra.get("mandate") or {})


def policy_hash(state_dict: Mapping[str, Any]) -> str:
    """SHA-256 over each tensor's name, type, shape and little-endian bytes, in the given order.

    ``state_dict`` maps names to NumPy arrays or CPU tensors; both give the same hash.

    >>> policy_hash({"a": np.zeros(2, np.float32)})[:12]
    'd023464e6914'
    """
    digest = hashlib.sha256()
    for name, value in state_dict.items():
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def exported(state_dict: Mapping[str, Any]) -> dict[str, Array]:
    """Copy a PyTorch policy's tensors for a weights file, each of them once.

    Stable-Baselines3 names a trunk that policy and value share three times.
    """
    aliases = ("pi_features_extractor.", "vf_features_extractor.")
    return {
        name: value.numpy().copy()
        for name, value in state_dict.items()
        if not name.startswith(aliases)
    }


def encode_weights(
    state_dict: Mapping[str, Any],
    contract: ObservationContract,
    *,
    activation: str = "tanh",
    mandate: Mandate = DAILY_MANDATE,
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """Give the bytes of a weights file; equal inputs give equal bytes.

    ``extra`` is kept as JSON in the header (seed, training window, hyper-parameters), and so is any
    mandate but the daily one.
    """
    own = {} if mandate == DAILY_MANDATE else {"mandate": mandate.record()}
    tensors = {name: np.asarray(value) for name, value in state_dict.items()}
    header = {
        "format": FORMAT,
        "contract": contract.name,
        "contract_sha": contract.sha256,
        "observation": list(contract.names),
        "activation": activation,
        "layers": {name: list(array.shape) for name, array in tensors.items()},
        "policy_hash": policy_hash(tensors),
        "extra": {**(extra or {}), **own},
    }
    return write_archive(header, tensors)


def write_archive(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Give the bytes of an archive of a header and arrays; equal inputs give equal bytes."""
    text = json.dumps(header, sort_keys=True).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in {_HEADER: np.frombuffer(text, np.uint8), **arrays}.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def read_archive(data: bytes, form: str, name: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give the header and the arrays that :func:`write_archive` wrote; no objects, so no code.

    Raises
    ------
    ModelFileMismatch
        The bytes are no such archive; the message says that it should be one of format ``form``.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        return dict(header), arrays
    except _UNREADABLE as error:
        raise not_of_format(name, form, error) from error


def not_of_format(name: str, form: str, error: Exception) -> ModelFileMismatch:
    """What is said of bytes that are no file of a format."""
    return ModelFileMismatch(
        f"{name} is not a weights file of format {form}: {error}",
        hint="only files that this program exported can be loaded; export the policy again",
    )


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that ``path`` always holds the old bytes or all of the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_weights(
    path: Path,
    state_dict: Mapping[str, Any],
    contract: ObservationContract,
    *,
    activation: str = "tanh",
    extra: Mapping[str, Any] | None = None,
) -> FileIdentity:
    """Write a weights file atomically and return the identity to register for it."""
    data = encode_weights(state_dict, contract, activation=activation, extra=extra)
    with atomic_file(path) as file:
        file.write(data)
    return FileIdentity.of(data)


def load_weights(
    path: Path, expected: FileIdentity, contract: ObservationContract
) -> PolicyWeights:
    """Read a weights file that must be the registered one and of the given contract.

    The bytes are read once; size and SHA-256 are checked before any of them is parsed.

    Raises
    ------
    ModelFileMismatch
        The file is missing, truncated, altered, or not a weights file.
    ContractMismatch
        The policy was trained on another observation; the first difference is named.
    """
    weights = decode_weights(read_registered(path, expected), str(path))
    check_contract(weights, contract)
    return weights


def read_registered(path: Path, expected: FileIdentity) -> bytes:
    """Read a file once, and give its bytes if they are the registered ones.

    Raises
    ------
    ModelFileMismatch
        The file is missing, truncated or altered.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileMismatch(
            f"{path} cannot be read: {error}", hint="fetch it from the registry again"
        ) from error
    expected.check(data, str(path))
    return data


def decode_weights(data: bytes, name: str = "the file") -> PolicyWeights:
    """Parse the bytes of a weights file, without any check of identity or contract.

    Raises
    ------
    ModelFileMismatch
        The bytes are not a weights file, hold pickled objects, or contradict their own header.
    """
    header, arrays = read_archive(data, FORMAT, name)
    try:
        weights = PolicyWeights(
            tensors=arrays,
            contract=header["contract"],
            contract_sha=header["contract_sha"],
            observation=tuple(header["observation"]),
            activation=header["activation"],
            extra=header["extra"],
        )
        stated = (header["format"], header["policy_hash"])
    except (KeyError, TypeError) as error:
        raise not_of_format(name, FORMAT, error) from error
    if stated != (FORMAT, weights.policy_hash):
        raise ModelFileMismatch(
            f"{name} says {stated}, its tensors are {(FORMAT, weights.policy_hash)}",
            hint="fetch the file from the registry again",
        )
    return weights


def check_contract(weights: PolicyWeights, contract: ObservationContract) -> None:
    """Refuse a policy under any observation contract but its own.

    Raises
    ------
    ContractMismatch
        Name, order, number or definition of the dimensions differ.
    """
    if weights.contract_sha == contract.sha256 and weights.observation == contract.names:
        return
    raise ContractMismatch(
        f"the model was trained on {weights.contract} ({weights.contract_sha[:12]}), "
        f"it was given {contract.name} ({contract.sha256[:12]}): "
        + _first_difference(weights.observation, contract.names),
        hint="use a model of that contract, or train one; observations are never translated",
    )


def _first_difference(trained: tuple[str, ...], given: tuple[str, ...]) -> str:
    if len(trained) != len(given):
        return f"{len(trained)} dimensions against {len(given)}"
    for index, (old, new) in enumerate(zip(trained, given, strict=True)):
        if old != new:
            return f"dimension {index} was {old!r} and is {new!r}"
    return "the same names, but other definitions or ranges"
