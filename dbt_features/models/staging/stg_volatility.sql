with indices as (
    select * from {{ source('market', 'volatility') }}
)

select
    upper(name) as name, session,
    open, high, low, close,
    available_at, ingested_at
from indices
{{ last_version(['name', 'session']) }}
