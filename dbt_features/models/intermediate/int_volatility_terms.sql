-- The other published volatility indices of a session, side by side.
with indices as (
    select * from {{ ref('stg_volatility') }}
)

select
    session,
    {%- for name in ['VIX1D', 'VIX9D', 'VIX3M', 'VVIX', 'SKEW'] %}
    max(close) filter (where name = '{{ name }}') as {{ name | lower }},
    {%- endfor %}
    max(available_at) filter (where name <> 'VIX') as available_at
from indices
group by session
