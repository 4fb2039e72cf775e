with bars as (
    select * from {{ source('features', 'adjusted_bars') }}
)

select
    symbol, session,
    open, high, low, close, volume, factor,
    available_at, ingested_at
from bars
{{ last_version(['symbol', 'session']) }}
