"""Implied volatility beside py_vollib_vectorized and vollib's loop, on one thread, in turn.

python benchmarks/implied_vol.py --peer-venv ~/.cache/vollib [--rounds 5]

Targets: at most 1/1.5 of py_vollib_vectorized's time (aim 1/2) on 10,000 and on 1,000,000 contracts and
1/60 of vollib's; on the hard rows all informative ones within 4 times the attainable error; the first
call in a new process within 2 s once the kernels are compiled. The peers have their own virtual
environments below the folder that ``--peer-venv`` or ``VOLLIB_VENV`` names, made if they are missing;
without either, only our own figures are measured.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile

import mpmath
import numpy as np
from measuring import Figure, clean_environment, report, timed_process
from measuring.vollib_peer import Chain, Peer, add_options, chain, repeats, rights, seconds_of

from spy_assets.options.implied_vol import ImpliedVol, IvStatus, implied_volatility

SIZES = {"10k": 10_000, "1M": 1_000_000}
LOOP_CONTRACTS = 2_000
HARD_ROWS = 300
FIRST_CALL = """
from spy_assets.options.implied_vol import implied_volatility
print(implied_volatility(20.0, 688.12, 700.0, 0.25, 0.0433, 0.0125, "C"))
"""


def ours(c: Chain, right: np.ndarray) -> ImpliedVol:
    columns = ("price", "spot", "strike", "years", "rate", "dividend_yield")
    return implied_volatility(*(c[name] for name in columns), right)


def beside_peer(c: Chain, peer: Peer, rounds: int) -> tuple[float, float]:
    """Medians of our processor seconds and the peer's."""
    right = rights(c)
    ours(c, right)
    own, theirs = [], []
    times = repeats(len(right))
    for _ in range(rounds):
        own.append(seconds_of(lambda: ours(c, right), times))
        theirs.append(peer.run("iv", c, times))
    return statistics.median(own), statistics.median(theirs)


def speed(peer: Peer, rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    for name, size in SIZES.items():
        c = chain(size)
        own, theirs = beside_peer(c, peer, rounds if size < 1_000_000 else 3)
        figures += [
            Figure(f"{name}: ours, per option", own / size * 1e9, "ns"),
            Figure(f"{name}: py_vollib_vectorized, per option", theirs / size * 1e9, "ns"),
            Figure(f"{name}: share of its time (1/{theirs / own:.1f})", own / theirs, "x", 1 / 1.5),
        ]
    return figures


def speed_of_loop(peer: Peer, rounds: int) -> list[Figure]:
    """The chain of 10,000 for ours, its first part for vollib's loop."""
    c = chain(SIZES["10k"])
    part = {name: values[:LOOP_CONTRACTS] for name, values in c.items()}
    right = rights(c)
    ours(c, right)
    turns, theirs_all = [], []
    for _ in range(rounds):
        turns.append(seconds_of(lambda: ours(c, right), 10))
        theirs_all.append(peer.run("loop", part, 1))
    own = statistics.median(turns) * LOOP_CONTRACTS / SIZES["10k"]
    theirs = statistics.median(theirs_all)
    return [
        Figure("vollib's loop, per option", theirs / LOOP_CONTRACTS * 1e9, "ns"),
        Figure(f"share of the loop's time (1/{theirs / own:.0f})", own / theirs, "x", 1 / 60),
    ]


def exact_volatility(c: dict[str, float]) -> tuple[float, float]:
    """The volatility of the float64 price and its attainable error, by Newton's method with 80 digits.

    An infinite error where the last bit of the price is worth 1 % of the volatility or more.
    """
    with mpmath.workdps(80):
        s, k, t, r, q, p, g = (
            mpmath.mpf(c[name])
            for name in ("spot", "strike", "years", "rate", "dividend_yield", "price", "sign")
        )
        sigma = mpmath.mpf(c["sigma"])
        s_pv, k_pv, root = s * mpmath.exp(-q * t), k * mpmath.exp(-r * t), mpmath.sqrt(t)
        for _ in range(12):
            d1 = mpmath.log(s_pv / k_pv) / (sigma * root) + sigma * root / 2
            value = g * (s_pv * mpmath.ncdf(g * d1) - k_pv * mpmath.ncdf(g * (d1 - sigma * root)))
            vega = s_pv * mpmath.npdf(d1) * root
            if math.ulp(c["price"]) >= 0.01 * vega * sigma:
                return math.nan, math.inf
            sigma -= (value - p) / vega
        exact = float(sigma)
        return exact, max(math.ulp(c["price"]) / float(vega), math.ulp(exact))


def hard_rows() -> Chain:
    """Near the money and ten deviations off, minutes and years, 1 % and 500 %; prices to 80 digits."""
    chance = np.random.default_rng(11)
    count = HARD_ROWS
    years = np.exp(chance.uniform(np.log(2e-6), np.log(3.0), count))
    sigma = np.exp(chance.uniform(np.log(0.01), np.log(5.0), count))
    deviations = chance.uniform(-10.0, 10.0, count) * chance.choice([0.01, 0.3, 1.0], count)
    c = {
        "spot": np.full(count, 688.12),
        "strike": 688.12 * np.exp(np.clip(deviations * sigma * np.sqrt(years), -6.0, 6.0)),
        "years": years,
        "rate": chance.choice([-0.005, 0.0, 0.0433], count),
        "dividend_yield": chance.choice([0.0, 0.0125], count),
        "sigma": sigma,
        "sign": chance.choice([1.0, -1.0], count),
    }
    c["price"] = np.array([exact_price(*row) for row in zip(*c.values(), strict=True)])
    return c


def exact_price(*row: float) -> float:
    with mpmath.workdps(80):
        s, k, t, r, q, v, g = (mpmath.mpf(float(x)) for x in row)
        d1 = (mpmath.log(s / k) + (r - q + v * v / 2) * t) / (v * mpmath.sqrt(t))
        held, exercised = mpmath.ncdf(g * d1), mpmath.ncdf(g * (d1 - v * mpmath.sqrt(t)))
        return float(g * (s * mpmath.exp(-q * t) * held - k * mpmath.exp(-r * t) * exercised))


def accuracy() -> list[Figure]:
    """The largest error on the hard rows in attainable errors; rows worth less than 1 % are left out."""
    c = hard_rows()
    found = ours(c, rights(c))
    worst, informative, missing = 0.0, 0, 0
    for i in range(HARD_ROWS):
        price = c["price"][i]
        if not price > 0.0:
            continue
        exact, attainable = exact_volatility({name: float(values[i]) for name, values in c.items()})
        if math.isinf(attainable):
            continue
        informative += 1
        missing += int(found.status[i] != IvStatus.OK)
        worst = max(worst, float(abs(found.iv[i] - exact)) / attainable)
    return [
        Figure("hard rows: informative", informative, ""),
        Figure("hard rows: of them without a volatility", missing, "", 0.0),
        Figure("hard rows: largest error in attainable ones", worst, "", 4.0),
    ]


def first_call() -> list[Figure]:
    """A new process with nothing compiled, then with the kernels on disk."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", FIRST_CALL]
        took = [timed_process(command, {"NUMBA_CACHE_DIR": cache}) for _ in range(4)]
    return [
        Figure("new process, compiling (processor)", took[0].processor, "s"),
        Figure(
            "new process, compiled (processor)",
            statistics.median(one.processor for one in took[1:]),
            "s",
            2.0,
        ),
        Figure("new process, compiled (elapsed)", min(one.wall for one in took[1:]), "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    arguments = parser.parse_args()
    clean_environment()
    figures = [*accuracy(), *first_call()]
    note = "without the peers: --peer-venv or VOLLIB_VENV names no environment for them"
    if arguments.peer_venv:
        note = ""
        with Peer(arguments.peer_venv, "vectorized") as peer:
            figures += speed(peer, arguments.rounds)
        with Peer(arguments.peer_venv, "loop") as peer:
            figures += speed_of_loop(peer, arguments.rounds)
    report("implied_vol", "Implied volatility (processor time, medians)", figures, note)


if __name__ == "__main__":
    main()
