-- Where the adjusted close stands against its last 252 sessions.
with prices as (
    select * from {{ ref('int_prices') }}
)

select
    symbol, session,
    if(
        count(close_adjusted) over year = 252,
        close_adjusted / avg(close_adjusted) over year,
        null
    ) as close_to_sma_252,
    if(
        count(close_adjusted) over year = 252,
        close_adjusted / max(high_adjusted) over year - 1.0,
        null
    ) as drawdown_252
from prices
window year as (partition by symbol order by session rows between 251 preceding and current row)
