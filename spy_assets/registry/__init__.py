"""The model registry: MLflow behind four verbs, and a spool for when it does not answer.

* :class:`Registry` logs a training, registers its version, moves aliases and fetches weights.
* :class:`FoldRecord` is one fold of a walk-forward; its configurations are the counted trials.
* :class:`TrainingRecord` is everything that one training has to say, free of MLflow.
* :class:`Spool` keeps records on disk until MLflow has them.

Importing this package is light; MLflow is imported when a :class:`Registry` is first used.
"""

from spy_assets.registry.folds import FoldRecord
from spy_assets.registry.mlflow_registry import FetchedModel, LoggedTraining, Registry
from spy_assets.registry.records import SeedRun, TrainingRecord
from spy_assets.registry.spool import Spool

__all__ = [
    "FetchedModel",
    "FoldRecord",
    "LoggedTraining",
    "Registry",
    "SeedRun",
    "Spool",
    "TrainingRecord",
]
