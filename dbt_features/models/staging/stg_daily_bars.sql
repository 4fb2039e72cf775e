with bars as (
    select * from {{ source('market', 'daily_bars') }}
)

select
    symbol, session, event_time,
    open, high, low, close, volume,
    available_at, ingested_at, source
from bars
{{ last_version(['symbol', 'session']) }}
