-- Total returns: dividends and splits are in the adjusted prices.
with prices as (
    select * from {{ ref('int_prices') }}
)

select
    symbol, session,
    row_number() over history as bar_number,
    close_adjusted / lag(close_adjusted, 1) over history - 1.0 as return_1,
    close_adjusted / lag(close_adjusted, 5) over history - 1.0 as return_5,
    close_adjusted / lag(close_adjusted, 20) over history - 1.0 as return_20,
    ln(close_adjusted / lag(close_adjusted, 1) over history) as log_return,
    open_adjusted / lag(close_adjusted, 1) over history - 1.0 as overnight_return,
    close_adjusted / open_adjusted - 1.0 as intraday_return
from prices
window history as (partition by symbol order by session)
