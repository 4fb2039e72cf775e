"""How old an asset may be before Dagster says so; history does not age.

The longest planned pause of the market is from Friday to Tuesday, so that a daily policy fails on no
holiday, and does fail when nothing runs any more. The check `fresh` knows the calendar.
"""

from datetime import timedelta

import dagster as dg

from spy_assets.defs.partitions import CHAIN_SOURCE, HISTORICAL


def _within(window: timedelta) -> dg.FreshnessPolicy | None:
    return None if HISTORICAL else dg.FreshnessPolicy.time_window(fail_window=window)


#: Market data and features.
DAILY = _within(timedelta(days=4, hours=4))
#: What follows them on the same evening.
EVENING = _within(timedelta(days=4, hours=5))
#: Models: two Sundays and a day.
WEEKLY = _within(timedelta(days=15))
#: Option chains: where no source of them is set there is nothing to age.
CHAINS = DAILY if CHAIN_SOURCE else None
