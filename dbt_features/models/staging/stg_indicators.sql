with indicators as (
    select * from {{ source('features', 'indicators') }}
)

select *
from indicators
{{ last_version(['symbol', 'session']) }}
