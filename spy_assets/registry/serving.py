"""The registered model as code: MLflow stores this file, not a pickle.

Input: ``observation`` float32 ``[n, d]`` and ``mask`` bool ``[n, actions]``. Output: the
probability of each action, float64 ``[n, actions]``. The weights are read only if they are the
registered bytes. A version that is made of several policies is asked as one; the input names no
regime, so that a router asks its fallback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from spy_assets.features.contracts import get_contract
from spy_assets.models.composite import load_policy
from spy_assets.models.policy.weights import FileIdentity


class PolicyServing(PythonModel):
    """MLflow's view of a policy: :func:`~spy_assets.models.composite.load_policy`."""

    #: The signature is given when logging. MLflow takes hints for a schema and warns without them.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Load the weights and check size, SHA-256 and contract."""
        config = context.model_config
        self.policy = load_policy(
            Path(context.artifacts["weights"]),
            FileIdentity(str(config["file_sha256"]), int(config["file_bytes"])),
            get_contract(str(config["contract"])),
        )

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Give the probabilities of the actions for each row; there are no parameters."""
        del context, params
        return self.policy.probabilities(model_input["observation"], model_input["mask"])


set_model(PolicyServing())
