-- Realised volatility, annualised by 252, decimals; null until the window is full.
with prices as (
    select * from {{ ref('int_prices') }}
),

returns as (
    select * from {{ ref('int_returns') }}
),

terms as (
    select
        symbol, session, log_return,
        -- Parkinson (1980) and Garman & Klass (1980), one day's variance each.
        ln(high / low) ^ 2 / (4.0 * ln(2.0)) as parkinson,
        0.5 * ln(high / low) ^ 2 - (2.0 * ln(2.0) - 1.0) * ln(close / open) ^ 2 as garman_klass,
        if(log_return < 0.0, log_return ^ 2, 0.0) as down,
        if(log_return > 0.0, log_return ^ 2, 0.0) as up
    from prices
    join returns using (symbol, session)
)

select
    symbol, session,
    {%- for length in [5, 10, 20, 60] %}
    if(
        count(log_return) over w{{ length }} = {{ length }},
        sqrt(252.0) * stddev_samp(log_return) over w{{ length }},
        null
    ) as realized_vol_{{ length }},
    {%- endfor %}
    if(count(parkinson) over w20 = 20, sqrt(252.0 * avg(parkinson) over w20), null)
        as parkinson_vol_20,
    if(
        count(garman_klass) over w20 = 20,
        sqrt(252.0 * greatest(avg(garman_klass) over w20, 0.0)),
        null
    ) as garman_klass_vol_20,
    if(count(log_return) over w20 = 20, sqrt(252.0 * avg(down) over w20), null) as down_vol_20,
    if(count(log_return) over w20 = 20, sqrt(252.0 * avg(up) over w20), null) as up_vol_20
from terms
window
    {%- for length in [5, 10, 20, 60] %}
    w{{ length }} as (
        partition by symbol order by session
        rows between {{ length - 1 }} preceding and current row
    ){{ ',' if not loop.last }}
    {%- endfor %}
