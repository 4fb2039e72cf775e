-- The rule regime (spy_assets.features.regime): VIX first, then the 20-session return.
with features as (
    select * from {{ ref('int_market_features') }}
)

select
    symbol, session, event_time, source,
    vix, return_20 as trend,
    case
        when vix is null then null
        when vix > 25.0 then 'high_volatility'
        when return_20 is null then null
        when return_20 > 0.02 then 'strong_uptrend'
        when return_20 < -0.02 then 'strong_downtrend'
        else 'neutral'
    end as regime,
    case
        when vix is null then 'regime:vix_missing'
        when return_20 is null and vix <= 25.0 then 'regime:warmup'
        else 'ok'
    end as quality,
    daily_15_known_at as available_at
from features
