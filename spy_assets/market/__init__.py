"""Market data: canonical schemas, cleaning, quarantine, adjustment, coverage, availability.

Everything here is a plain function on Polars frames. The vendors are in :mod:`.sources`.
"""
