-- Volume against its own past. Volumes are adjusted for splits.
with prices as (
    select * from {{ ref('int_prices') }}
),

returns as (
    select * from {{ ref('int_returns') }}
),

signed as (
    select
        symbol, session, volume_adjusted as volume, return_1,
        if(return_1 < 0.0, volume_adjusted, 0.0) as down_volume,
        if(return_1 > 0.0, volume_adjusted, 0.0) as up_volume
    from prices
    join returns using (symbol, session)
)

select
    symbol, session,
    if(
        count(volume) over previous_20 = 20,
        volume / nullif(avg(volume) over previous_20, 0.0),
        null
    ) as volume_ratio_20,
    if(
        count(return_1) over last_10 = 10 and count(volume) over last_10 = 10,
        sum(down_volume) over last_10 / nullif(sum(up_volume) over last_10, 0.0),
        null
    ) as down_up_volume_10
from signed
window
    previous_20 as (
        partition by symbol order by session rows between 20 preceding and 1 preceding
    ),
    last_10 as (partition by symbol order by session rows between 9 preceding and current row)
