"""Run by the Python of optopsy's environment: a condor backtest, its processor seconds and results.

Knows nothing of this project. The first run, over the first sessions only, is not timed.

python optopsy_worker.py FILE.npz ROUNDS
"""

import json
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")


def load(path):
    with np.load(path) as content:
        columns = {name: content[name] for name in content.files}
    return pd.DataFrame(
        {
            "underlying_symbol": pd.Categorical.from_codes(
                np.zeros(columns["strike"].size, int), ["SPY"]
            ).astype(str),
            "option_type": np.where(columns["put"], "put", "call"),
            "expiration": columns["expiry"].astype("datetime64[ns]"),
            "quote_date": columns["session"].astype("datetime64[ns]"),
            "strike": columns["strike"],
            "bid": columns["bid"],
            "ask": columns["ask"],
            "delta": columns["delta"],
            "underlying_price": columns["spot"],
        }
    )


def condors(op, frame):
    wing = op.TargetRange(target=0.05, min=0.01, max=0.10)
    short = op.TargetRange(target=0.16, min=0.11, max=0.21)
    return op.simulate(
        frame,
        op.iron_condor,
        max_positions=1,
        selector="nearest",
        max_entry_dte=45,
        leg1_delta=wing,
        leg2_delta=short,
        leg3_delta=short,
        leg4_delta=wing,
        slippage="spread",
        commission=0.65,
        stop_loss=-1.0,
        take_profit=0.5,
    )


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    import optopsy as op

    frame, rounds = load(sys.argv[1]), int(sys.argv[2])
    first = frame["quote_date"].drop_duplicates().nsmallest(12)
    condors(op, frame[frame["quote_date"].isin(first)])
    before, seconds, result = peak(), [], None
    for _ in range(rounds):
        began = time.process_time()
        result = condors(op, frame)
        seconds.append(time.process_time() - began)
    told = {
        "seconds": seconds,
        "rows": len(frame),
        "bytes": int(frame.memory_usage(deep=True).sum()),
        "more_bytes": peak() - before,
        "trades": len(result.trade_log),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
