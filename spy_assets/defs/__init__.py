"""The Dagster graph: assets, checks, jobs, schedules, sensors. No arithmetic lives here."""

import warnings

import dagster as dg

# Backfill policies, mappings and freshness are beta in the pinned version; said once here, in the
# changelog when the pin moves, and not on every import.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
