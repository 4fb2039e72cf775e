"""Finished trainings on disk, until the registry has them.

Every record is written here before MLflow is asked, and removed when MLflow has answered. So a
server that is down, or a process that dies half-way, loses nothing: what is here is registered
later.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from spy_assets.models.policy.weights import atomic_file
from spy_assets.registry.records import TrainingRecord

_RECORD = "record.json"
_WEIGHTS = "policy.npz"
_SEED_WEIGHTS = "seed_{}.npz"


class Spool:
    """A folder with one sub-folder per record; a sub-folder is complete or does not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, record: TrainingRecord) -> Path:
        """Store ``record`` atomically and return its folder; storing it twice is the same.

        Another training that ended in the same policy has a folder of its own: its seeds are others.
        """
        text = record.to_json().encode()
        name = f"{record.record_id}.{hashlib.sha256(text).hexdigest()[:12]}"
        final = self.folder / name
        if final.is_dir():
            return final
        partial = self.folder / f".{name}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files = {_WEIGHTS: record.weights, _RECORD: text}
        files |= {
            _SEED_WEIGHTS.format(run.seed): run.weights
            for run in record.seeds
            if run.weights is not None
        }
        for name, data in files.items():
            with atomic_file(partial / name) as file:
                file.write(data)
        partial.rename(final)
        return final

    def pending(self) -> list[Path]:
        """Folders of the records that the registry does not have yet, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def read(self, path: Path) -> TrainingRecord:
        """Read the record in ``path``.

        Raises
        ------
        ModelFileMismatch
            Its weights, or those of a seed, were altered since.
        """
        weights = (path / _WEIGHTS).read_bytes()
        found = path.glob(_SEED_WEIGHTS.format("*"))
        seeds = {int(file.stem.partition("_")[2]): file.read_bytes() for file in found}
        return TrainingRecord.from_json((path / _RECORD).read_text(), weights, seeds)

    def remove(self, path: Path) -> None:
        """Forget a record that the registry has."""
        shutil.rmtree(path)
