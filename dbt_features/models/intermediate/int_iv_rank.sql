-- Rank and percentile of VIX among its last 252 closes, today included; null before there are 252.
with vix as (
    select * from {{ ref('stg_volatility') }}
    where name = 'VIX' and close is not null
),

ranges as (
    select
        session, open, close, available_at,
        count(*) over year as closes,
        min(close) over year as lowest,
        max(close) over year as highest,
        list(close) over year as past
    from vix
    window year as (order by session rows between 251 preceding and current row)
)

select
    session,
    open as vix_open,
    close as vix,
    closes as vix_closes,
    if(closes = 252, (close - lowest) / nullif(highest - lowest, 0.0), null) as iv_rank_252,
    if(closes = 252, len(list_filter(past, lambda past_close: past_close < close)) / 252.0, null)
        as iv_percentile_252,
    available_at
from ranges
