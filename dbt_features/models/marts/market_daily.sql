-- The rows of int_market_features that are new or changed; nothing stored is touched.
with mart as (
    select *, known_at as available_at from {{ ref('int_market_features') }}
)

{{ append_new_versions('mart') }}
