"""Price and Greeks beside py_vollib_vectorized, on one thread, in turn.

python benchmarks/greeks.py --peer-venv ~/.cache/vollib [--rounds 5]

Ours gives the price and eight Greeks, the peer the price and five. Targets: at most 1/20 of its time,
and each of the six values within 1e-9 of its exact one. The peer has its own virtual environment below
the folder that ``--peer-venv`` or ``VOLLIB_VENV`` names, made if it is missing; without either, only
our own figures are measured.
"""

from __future__ import annotations

import argparse
import statistics

import mpmath
import numpy as np
from measuring import Figure, clean_environment, report
from measuring.vollib_peer import (
    Chain,
    Peer,
    add_options,
    chain,
    our_greeks,
    repeats,
    rights,
    seconds_of,
)

SIZES = {"10k": 10_000, "1M": 1_000_000}
CHECKED = 300
NAMES = ("price", "delta", "gamma", "vega", "theta", "rho")


def exact(c: Chain, i: int) -> list[float]:
    """Price and five Greeks of one contract, with 50 digits."""
    columns = ("spot", "strike", "years", "rate", "dividend_yield", "sigma", "sign")
    with mpmath.workdps(50):
        s, k, t, r, q, v, g = (mpmath.mpf(float(c[name][i])) for name in columns)
        root = mpmath.sqrt(t)
        d1 = (mpmath.log(s / k) + (r - q + v * v / 2) * t) / (v * root)
        held = s * mpmath.exp(-q * t) * mpmath.ncdf(g * d1)
        exercised = k * mpmath.exp(-r * t) * mpmath.ncdf(g * (d1 - v * root))
        density = s * mpmath.exp(-q * t) * mpmath.npdf(d1)
        values = (
            g * (held - exercised),
            g * held / s,
            density / (s * s * v * root),
            density * root,
            g * (q * held - r * exercised) - density * v / (2 * root),
            g * t * exercised,
        )
        return [float(value) for value in values]


def accuracy(c: Chain) -> list[Figure]:
    found = our_greeks(c, rights(c))
    own = np.array([getattr(found, name)[:CHECKED] for name in NAMES])
    reference = np.array([exact(c, i) for i in range(CHECKED)]).T
    error = np.max(np.abs(own / reference - 1.0), axis=1)
    return [
        Figure(f"{name}: largest relative error", float(value) * 1e15, "e-15", 1e6)
        for name, value in zip(NAMES, error, strict=True)
    ]


def speed(name: str, size: int, peer: Peer | None, rounds: int) -> list[Figure]:
    c = chain(size)
    right = rights(c)
    our_greeks(c, right)
    own, theirs = [], []
    for _ in range(rounds):
        own.append(seconds_of(lambda: our_greeks(c, right), repeats(size)))
        if peer is not None:
            theirs.append(peer.run("greeks", c, repeats(size)))
    mine = statistics.median(own)
    figures = [Figure(f"{name}: ours, per option", mine / size * 1e9, "ns")]
    if peer is None:
        return figures
    other = statistics.median(theirs)
    return [
        *figures,
        Figure(f"{name}: py_vollib_vectorized, per option", other / size * 1e9, "ns"),
        Figure(f"{name}: share of its time (1/{other / mine:.0f})", mine / other, "x", 1 / 20),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    arguments = parser.parse_args()
    clean_environment()
    peer = Peer(arguments.peer_venv, "vectorized") if arguments.peer_venv else None
    figures = accuracy(chain(10_000))
    for name, size in SIZES.items():
        figures += speed(name, size, peer, arguments.rounds if size < 1_000_000 else 3)
    if peer is not None:
        peer.__exit__()
    note = (
        "" if peer else "without the peer: --peer-venv or VOLLIB_VENV names no environment for it"
    )
    report("greeks", "Price and Greeks (processor time, medians)", figures, note)


if __name__ == "__main__":
    main()
