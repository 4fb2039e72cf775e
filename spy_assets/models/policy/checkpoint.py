"""Training state on disk: written atomically, read without running code.

A file is a magic word, the SHA-256 of its payload, and the payload: ``torch.save`` of tensors and
plain values, read back with ``weights_only=True``. Its name is the fingerprint of what is
trained, so that a training on other data or other hyper-parameters never continues from it.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

from spy_assets.models.policy.weights import atomic_file

#: With another layout of the environments' state another number: its trainings start anew.
_MAGIC = b"SPYCKPT2"
_DIGEST_BYTES = 32


class CheckpointStore:
    """The checkpoint of one training; ``folder=None`` keeps nothing."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self.path = folder / f"{fingerprint[:24]}.checkpoint" if folder is not None else None

    def write(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old one or the new one."""
        import torch

        if self.path is None:
            return
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        with atomic_file(self.path) as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)

    def read(self) -> dict[str, Any] | None:
        """Return the state, or None if there is no undamaged checkpoint (training starts anew)."""
        import torch

        if self.path is None or not self.path.is_file():
            return None
        data = self.path.read_bytes()
        start = len(_MAGIC) + _DIGEST_BYTES
        digest, payload = data[len(_MAGIC) : start], data[start:]
        if not data.startswith(_MAGIC) or hashlib.sha256(payload).digest() != digest:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
        return state


def clear_checkpoints(folder: Path) -> None:
    """Remove a folder of checkpoints, once its trainings are registered."""
    shutil.rmtree(folder, ignore_errors=True)
