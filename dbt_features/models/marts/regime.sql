-- The rows of int_regime that are new or changed; nothing stored is touched.
with mart as (
    select * from {{ ref('int_regime') }}
)

{{ append_new_versions('mart') }}
