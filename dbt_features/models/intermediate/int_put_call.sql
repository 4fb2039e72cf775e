-- The put/call ratios that were known when the decision of a session fell due (the day before's).
with sessions as (
    select distinct session, {{ decision_time('session') }} as decided_at
    from {{ ref('stg_daily_bars') }}
),

ratios as (
    select * from {{ ref('stg_put_call') }}
),

asked as (
    select session, decided_at, series
    from sessions
    cross join (select distinct series from ratios) as all_series
),

known as (
    select asked.session, lower(asked.series) as series, ratios.ratio, ratios.available_at
    from asked
    asof join ratios
        on asked.series = ratios.series and asked.decided_at >= ratios.available_at
    where asked.session - ratios.session <= {{ var('max_observation_age_days') }}
)

select
    session,
    {%- for series in ['total', 'equity', 'index'] %}
    max(ratio) filter (where series = '{{ series }}') as put_call_{{ series }},
    {%- endfor %}
    max(available_at) as available_at
from known
group by session
