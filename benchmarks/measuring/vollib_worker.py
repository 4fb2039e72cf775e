"""Run by the Python of the peers' environment: one job per line of input, its processor seconds out.

Knows nothing of this project. Each job is run once before it is timed, so that nothing is compiled on
the clock.
"""

import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")


def load(path):
    with np.load(path) as content:
        chain = dict(content)
    # A list of characters is what its own conversion of flags is fastest with.
    chain["flag"] = ["c" if sign > 0 else "p" for sign in chain.pop("sign")]
    return chain


def vectorized_iv(c):
    from py_vollib_vectorized import vectorized_implied_volatility

    market = (c["price"], c["spot"], c["strike"], c["years"], c["rate"], c["flag"])
    return vectorized_implied_volatility(
        *market,
        q=c["dividend_yield"],
        model="black_scholes_merton",
        return_as="numpy",
        on_error="ignore",
    )


def loop_iv(c):
    from vollib.black_scholes_merton.implied_volatility import implied_volatility

    columns = ("price", "spot", "strike", "years", "rate", "dividend_yield")
    rows = zip(*(c[name].tolist() for name in columns), c["flag"], strict=True)
    found = []
    for row in rows:
        try:
            found.append(implied_volatility(*row))
        except Exception:  # noqa: BLE001 - the peer raises many kinds for prices without a volatility
            found.append(float("nan"))
    return np.array(found)


def vectorized_greeks(c):
    from py_vollib_vectorized import get_all_greeks, vectorized_black_scholes_merton

    market = (c["flag"], c["spot"], c["strike"], c["years"], c["rate"], c["sigma"])
    price = vectorized_black_scholes_merton(*market, c["dividend_yield"], return_as="numpy")
    others = get_all_greeks(
        *market, q=c["dividend_yield"], model="black_scholes_merton", return_as="dict"
    )
    names = ("delta", "gamma", "vega", "theta", "rho")
    return np.vstack([np.ravel(price), *(np.ravel(others[name]) for name in names)])


JOBS = {"iv": vectorized_iv, "loop": loop_iv, "greeks": vectorized_greeks}


def main():
    warm = set()
    for line in sys.stdin:
        name, path, times = json.loads(line)
        chain = load(path)
        if name not in warm:
            JOBS[name]({key: value[:100] for key, value in chain.items()})
            warm.add(name)
        before = time.process_time()
        for _ in range(times):
            JOBS[name](chain)
        print((time.process_time() - before) / times, flush=True)


if __name__ == "__main__":
    main()
