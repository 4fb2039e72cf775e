{# A column is null exactly where `quality` gives a reason for it. #}
{% test explained_nulls(model, columns) %}
select *
from {{ model }}
where false
{%- for column in columns %}
    or ({{ column }} is null) <> contains(';' || quality, ';{{ column }}:')
{%- endfor %}
{% endtest %}
