"""A training in its own process, for tests that kill it: ``python -m ... FOLDER OUT ROLLOUTS``.

Prints a line per rollout, and writes the policy's hash and where it resumed to OUT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from spy_assets.models.policy.stopping import stop_on_sigterm
from spy_assets.models.policy.train import TrainingStopped, train_policy
from spy_assets_tests.models.markets import random_market, tiny_config


def main(folder: str, out: str, rollouts: str) -> int:
    config = tiny_config(timesteps=int(rollouts) * 256)
    with stop_on_sigterm() as stop:
        try:
            policy = train_policy(
                random_market(),
                config,
                42,
                checkpoint_dir=None if folder == "-" else Path(folder),
                progress=lambda fraction, text: print(f"{fraction:.3f} {text}", flush=True),
                stop=stop,
            )
        except TrainingStopped as error:
            print(error, flush=True)
            return 3
    result = {"hash": policy.policy_hash, "resumed_at": policy.resumed_at}
    Path(out).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
