-- The rows of int_daily_15 that are new or changed; nothing stored is touched.
with mart as (
    select * from {{ ref('int_daily_15') }}
)

{{ append_new_versions('mart') }}
