{# Every value that is there is one of these names. #}
{% test accepted_regimes(model, column, names) %}
select *
from {{ model }}
where {{ column }} is not null and {{ column }} not in ('{{ names | join("', '") }}')
{% endtest %}
