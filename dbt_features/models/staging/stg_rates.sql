-- One row per moment at which something newer was published, so that an as-of join by available_at
-- finds the newest observation that was known, and never an older one that was revised later.
with observations as (
    select * from {{ source('market', 'rates') }}
),

publications as (
    select *
    from observations
    qualify row_number() over (
        partition by series, available_at
        order by session desc, ingested_at desc
    ) = 1
)

select
    series, session, rate, is_constant,
    available_at, ingested_at
from publications
qualify session = max(session) over (
    partition by series
    order by available_at
    rows between unbounded preceding and current row
)
