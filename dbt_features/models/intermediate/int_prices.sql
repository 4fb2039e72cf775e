-- Raw and forward-adjusted prices of a bar side by side.
with bars as (
    select * from {{ ref('stg_daily_bars') }}
),

adjusted as (
    select * from {{ ref('stg_adjusted_bars') }}
)

select
    bars.symbol, bars.session, bars.event_time,
    bars.open, bars.high, bars.low, bars.close, bars.volume,
    adjusted.open as open_adjusted,
    adjusted.high as high_adjusted,
    adjusted.low as low_adjusted,
    adjusted.close as close_adjusted,
    adjusted.volume as volume_adjusted,
    adjusted.factor,
    greatest(bars.available_at, adjusted.available_at) as available_at,
    bars.source
from bars
join adjusted using (symbol, session)
