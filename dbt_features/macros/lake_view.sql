{#
  A view that is only written where its SQL changed: each DDL statement is a snapshot of the lake, and a
  run that changes nothing should make none. The hash of the SQL is kept as the view's comment.
#}
{% materialization lake_view, adapter='duckdb' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set mark = 'sql ' ~ local_md5(sql) -%}
    {%- set stored = none -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- if existing is not none and existing.is_view -%}
        {%- call statement('stored_mark', fetch_result=True) -%}
            select comment from duckdb_views()
            where database_name = '{{ this.database }}'
                and schema_name = '{{ this.schema }}' and view_name = '{{ this.identifier }}'
        {%- endcall -%}
        {%- set rows = load_result('stored_mark').data -%}
        {%- set stored = rows[0][0] if rows else none -%}
    {%- elif existing is not none -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}

    {%- if stored == mark and not should_full_refresh() -%}
        {%- call noop_statement('main', 'unchanged', 'unchanged', '0') -%}{{ sql }}{%- endcall -%}
    {%- else -%}
        {%- call statement('main') -%}
            create or replace view {{ target_relation }} as ({{ sql }});
            comment on view {{ target_relation }} is '{{ mark }}';
        {%- endcall -%}
    {%- endif -%}

    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {%- do adapter.commit() -%}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}
