{# Keep the last version of each key. Goes where QUALIFY stands. #}
{% macro last_version(key) -%}
    qualify row_number() over (
        partition by {{ key | join(', ') }}
        order by available_at desc, ingested_at desc
    ) = 1
{%- endmacro %}

{# True where two values differ: doubles beyond 1e-9 of their size, all else exactly; null is a value. #}
{% macro differs(left, right, data_type) -%}
    {%- if data_type | lower == 'double' -%}
    case
        when {{ left }} is null or {{ right }} is null then {{ left }} is distinct from {{ right }}
        else abs({{ left }} - {{ right }}) > 1e-9 * greatest(abs({{ left }}), abs({{ right }})) + 1e-12
    end
    {%- else -%}
    {{ left }} is distinct from {{ right }}
    {%- endif -%}
{%- endmacro %}

{#
  The last statement of a mart: the rows of `relation` that are new, or differ from the last version of
  their key. Columns and their types are those of the model's yml, in that order. Nothing stored is
  ever changed: a revision is a new row, known from this ingest on, whatever its inputs say of when
  they were published. An input that came late, or a changed formula, must not change what a decision
  of that time read. Only the first version of a key carries the nominal available_at of its inputs.
#}
{% macro append_new_versions(relation, key=['symbol', 'session']) -%}
{%- set system = ['available_at', 'ingested_at', 'source'] -%}
{%- set columns = model.columns.values() | list -%}
{%- set stored = [] -%}
{%- if execute and is_incremental() -%}
    {%- for column in adapter.get_columns_in_relation(this) -%}
        {%- do stored.append(column.name | lower) -%}
    {%- endfor -%}
{%- endif -%}
select
    {%- for column in columns if column.name not in system %}
    cast(computed.{{ column.name }} as {{ column.data_type }}) as {{ column.name }},
    {%- endfor %}
    {%- if is_incremental() %}
    case
        when stored.session is null then computed.available_at
        else greatest(computed.available_at, stored.available_at, {{ ingested_at() }})
    end as available_at,
    {%- else %}
    computed.available_at,
    {%- endif %}
    {{ ingested_at() }} as ingested_at,
    computed.source
from {{ relation }} as computed
{%- if is_incremental() %}
left join (
    select * from {{ this }}
    where {{ in_window('session') }}
    {{ last_version(key) }}
) as stored using ({{ key | join(', ') }})
{%- endif %}
where {{ in_window('computed.session') }}
{%- if is_incremental() %}
    and (
        stored.session is null
        {%- for column in columns if column.name not in system and column.name not in key %}
        {%- set right = 'stored.' ~ column.name if column.name in stored else 'null' %}
        or {{ differs('computed.' ~ column.name, right, column.data_type) }}
        {%- endfor %}
    )
{%- endif %}
order by computed.symbol, computed.session
{%- endmacro %}
