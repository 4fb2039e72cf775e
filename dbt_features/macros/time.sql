{# The moment at which the decision for a session falls due: 22:00 UTC (spy_assets.sessions). #}
{% macro decision_time(session) -%}
    timezone('UTC', {{ session }} + interval 22 hour)
{%- endmacro %}

{# The moment that is stamped on the rows of this invocation. #}
{% macro ingested_at() -%}
    timestamptz '{{ var("ingested_at") or run_started_at.isoformat() }}'
{%- endmacro %}

{# Restrict to the sessions that this invocation publishes. #}
{% macro in_window(session) -%}
    true
    {%- if var('start') %} and {{ session }} >= date '{{ var("start") }}'{% endif %}
    {%- if var('end') %} and {{ session }} <= date '{{ var("end") }}'{% endif %}
{%- endmacro %}
