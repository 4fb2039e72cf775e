{# Values lie in closed ranges, `{column: [low, high]}`; a null bound is open, a null value passes. #}
{% test within(model, ranges) %}
select *
from {{ model }}
where false
{%- for column, (low, high) in ranges.items() %}
    or isnan({{ column }})
    {%- if low is not none %} or {{ column }} < {{ low }}{% endif %}
    {%- if high is not none %} or {{ column }} > {{ high }}{% endif %}
{%- endfor %}
{% endtest %}
