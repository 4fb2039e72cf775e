"""A migrated MLflow database to copy: creating one takes two seconds."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from spy_assets.registry import Registry
from spy_assets.settings import Settings, load_settings


@functools.cache
def _template() -> Path:
    home = Path(tempfile.mkdtemp(prefix="mlflow-template-"))
    Registry(load_settings(home=home)).versions()
    return home / "mlruns" / "mlflow.db"


def fresh_registry(settings: Settings) -> Registry:
    """A registry whose database is a copy of the template."""
    settings.mlruns_dir.mkdir(parents=True, exist_ok=True)
    shutil.copy(_template(), settings.mlruns_dir / "mlflow.db")
    return Registry(settings)
