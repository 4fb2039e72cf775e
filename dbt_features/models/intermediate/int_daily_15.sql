-- The market dimensions of the observation contract daily_15_proxy_v1 (spy_assets.features.contracts),
-- with what a simulator needs beside them. Missing is null, and `quality` says why.
with features as (
    select * from {{ ref('int_market_features') }}
),

dimensions as (
    select
        symbol, session, event_time, bar_number, vix_closes, source,
        open, close, vix_open, vix as vix_close, rate,
        daily_15_known_at as available_at,
        close_to_sma_252 ^ 5 / (1.0 + close_to_sma_252 ^ 5) as price,
        rsi_cutler_14 / 100.0 as rsi14,
        {{ clip('macd_hist / 10.0 + 0.5') }} as macd_hist,
        {{ clip('(vix / 100.0 - 0.10) / 0.40') }} as iv,
        if(vix is null, null, iv_rank_252) as iv_rank,
        {{ clip('down_up_volume_10 / 3.0') }} as pcr,
        {{ clip('volume_ratio_20 / 5.0') }} as volume_surge,
        {{ clip('(down_vol_20 - up_vol_20) / 0.40 + 0.5') }} as iv_skew,
        abs(close - 5.0 * round(close / 5.0)) / 5.0 as gamma_proxy,
        {{ clip('return_5 * 100.0 / 10.0 + 0.5') }} as mom5
    from features
)

select
    *,
    coalesce(
        nullif(
            concat_ws(
                ';',
                if(price is null, 'price:warmup', null),
                if(rsi14 is null, if(bar_number < 15, 'rsi14:warmup', 'rsi14:flat'), null),
                if(macd_hist is null, 'macd_hist:warmup', null),
                if(iv is null, 'iv:vix_missing', null),
                case
                    when iv_rank is not null then null
                    when vix_close is null then 'iv_rank:vix_missing'
                    when vix_closes < 252 then 'iv_rank:vix_warmup'
                    else 'iv_rank:flat'
                end,
                if(pcr is null, if(bar_number < 11, 'pcr:warmup', 'pcr:no_volume'), null),
                if(
                    volume_surge is null,
                    if(bar_number < 21, 'volume_surge:warmup', 'volume_surge:no_volume'),
                    null
                ),
                if(iv_skew is null, 'iv_skew:warmup', null),
                if(mom5 is null, 'mom5:warmup', null)
            ),
            ''
        ),
        'ok'
    ) as quality
from dimensions
