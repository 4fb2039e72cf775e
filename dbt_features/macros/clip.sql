{# Bound a value; null stays null (LEAST and GREATEST alone would turn it into a bound). #}
{% macro clip(value, low=0.0, high=1.0) -%}
    if(({{ value }}) is null, null, greatest({{ low }}, least({{ high }}, {{ value }})))
{%- endmacro %}
