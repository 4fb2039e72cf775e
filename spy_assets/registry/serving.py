"""The registered model as code: MLflow stores this file, not a pickle.

Input: ``observation`` float32 ``[n, d]`` and ``mask`` bool ``[n, actions]``. Output: the
probability of each action, float64 ``[n, actions]``. The weights are read only if they are the
registered bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from spy_assets.features.contracts import get_contract
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import FileIdentity


class PolicyServing(PythonModel):
    """MLflow's view of :class:`~spy_assets.models.policy.inference.PolicyNet`."""

    #: The signature is given when logging. MLflow takes hints for a schema and warns without them.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Load the weights and check size, SHA-256 and contract."""
        config = context.model_config
        self.net = PolicyNet.load(
            Path(context.artifacts["weights"]),
            FileIdentity(str(config["file_sha256"]), int(config["file_bytes"])),
            get_contract(str(config["contract"])),
        )

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Give the probabilities of the actions for each row; there are no parameters."""
        del context, params
        return self.net.probabilities(model_input["observation"], model_input["mask"])


set_model(PolicyServing())
