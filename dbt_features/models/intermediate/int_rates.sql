-- The short rate that was known when the decision of a session fell due.
with sessions as (
    select distinct session, {{ decision_time('session') }} as decided_at
    from {{ ref('stg_daily_bars') }}
),

rates as (
    select * from {{ ref('stg_rates') }}
),

asked as (
    select session, decided_at, series
    from sessions
    cross join (select distinct series from rates) as all_series
),

known as (
    select
        asked.session, asked.series, rates.rate, rates.is_constant, rates.available_at,
        list_position({{ var('rate_series') }}, asked.series) as preference
    from asked
    asof join rates
        on asked.series = rates.series and asked.decided_at >= rates.available_at
    where rates.is_constant
        or asked.session - rates.session <= {{ var('max_observation_age_days') }}
)

select session, rate, is_constant as rate_is_constant, available_at
from known
qualify row_number() over (
    partition by session
    order by preference asc nulls last, series
) = 1
