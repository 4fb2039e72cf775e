-- Everything about a symbol and a session, one row. A row is known when the latest of all inputs up to
-- its session is, because windows reach back; so `known_at` never falls along a symbol's history.
with prices as (
    select * from {{ ref('int_prices') }}
),

returns as (
    select * from {{ ref('int_returns') }}
),

realized as (
    select * from {{ ref('int_realized_volatility') }}
),

volume as (
    select * from {{ ref('int_volume') }}
),

price_level as (
    select * from {{ ref('int_price_level') }}
),

indicators as (
    select * from {{ ref('stg_indicators') }}
),

vix as (
    select * from {{ ref('int_iv_rank') }}
),

terms as (
    select * from {{ ref('int_volatility_terms') }}
),

rates as (
    select * from {{ ref('int_rates') }}
),

put_call as (
    select * from {{ ref('int_put_call') }}
)

select
    prices.* exclude (available_at),
    returns.* exclude (symbol, session),
    realized.* exclude (symbol, session),
    volume.* exclude (symbol, session),
    price_level.* exclude (symbol, session),
    indicators.* exclude (
        symbol, session, event_time, realized_vol_20, available_at, ingested_at, source
    ),
    vix.* exclude (session, available_at),
    terms.* exclude (session, available_at),
    rates.* exclude (session, available_at),
    put_call.* exclude (session, available_at),
    terms.vix9d / vix.vix as vix9d_over_vix,
    vix.vix / terms.vix3m as vix_over_vix3m,
    vix.vix / 100.0 - realized.realized_vol_20 as volatility_premium_20,
    max(
        greatest(
            prices.available_at, indicators.available_at, vix.available_at, rates.available_at
        )
    ) over history as daily_15_known_at,
    max(
        greatest(
            prices.available_at, indicators.available_at, vix.available_at, rates.available_at,
            terms.available_at, put_call.available_at
        )
    ) over history as known_at
from prices
join returns using (symbol, session)
join realized using (symbol, session)
join volume using (symbol, session)
join price_level using (symbol, session)
left join indicators using (symbol, session)
left join vix using (session)
left join terms using (session)
left join rates using (session)
left join put_call using (session)
window history as (
    partition by prices.symbol order by prices.session
    rows between unbounded preceding and current row
)
