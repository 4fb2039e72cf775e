"""The Dagster graph: assets, checks, jobs, schedules, sensors. No arithmetic lives here."""

import gc
import warnings

import dagster as dg

# Backfill policies, mappings and freshness are beta in the pinned version; said once here, in the
# changelog when the pin moves, and not on every import.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

# Loading the graph makes some hundred thousand objects that stay. With the collector's defaults a
# sixth of the load, and much of what an event costs, is spent on looking through them again.
gc.freeze()
gc.set_threshold(50_000, 20, 100)
