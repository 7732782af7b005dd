"""Plain templates: their cost has a bound that is computed before they run."""

import pytest

from headrace.engine.rendering.jinja_environment import create_environment
from headrace.engine.rendering.plain_template import plain_weight

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def weight(source: str) -> int | None:
    return plain_weight(create_environment().parse(source))


@pytest.mark.parametrize(
    "source",
    [
        CHATML,
        "{{ bos_token }}{% for m in messages[1:] %}{{ m.content | trim }}{% endfor %}",
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles') }}{% endif %}{{ m.content.strip() ~ eos_token }}{% endfor %}",
        "{% set ns = namespace(found=false) %}{% for m in messages %}{% set ns.found = true %}"
        "{{ messages[loop.index0 - 1].role }}{% endfor %}",
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
        "{% set messages = messages[1:] %}{% endif %}{{ system }}",
        "{{ tools is none }}{{ date if date is defined else 'today' }}{{ messages | length }}",
    ],
)
def test_plain_templates(source: str) -> None:
    assert weight(source)


@pytest.mark.parametrize(
    "source",
    [
        # loops
        "{% for i in range(100000) %}{% endfor %}",
        "{% for m in messages %}{% for n in messages %}{% endfor %}{% endfor %}",
        "{% for c in messages[0].content %}{% endfor %}",
        "{% for x in numbers %}{% endfor %}",
        "{% set messages = numbers %}{% for m in messages %}{% endfor %}",
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ numbers | map('upper') | list }}",
        # results that are larger than what went in
        "{{ 'x' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ messages[0].content % 1 }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ messages | tojson(indent=1000000) }}",
        "{{ 'x' | indent(1000000000) }}",
        "{{ 'x'.replace('', messages[0].content) }}",
        "{{ lipsum(1000000) }}",
        "{{ strftime_now('%1000000000Y') }}",
        "{% set x = x ~ x %}",
        "{% set ns = namespace(x='x') %}{% set ns.x = ns.x + ns.x %}",
        "{% set x %}{{ x }}{{ x }}{% endset %}",
        "{% set x = [x, x] %}",
        # work that is not linear
        "{{ messages[0].content.strip(messages[1].content) }}",
        "{{ messages[0].content | trim(messages[1].content) }}",
        "{{ messages | sort }}",
        # ways to get hold of what is not plain
        "{% set namespace = messages[0].content.center %}{{ namespace(1000000000) }}",
        "{% set ns = namespace() %}{% set ns.strip = ''.center %}{{ ns.strip(1000000000) }}",
        "{% set ns = namespace() %}{% set ns.get = lipsum %}{{ ns.get(1000000) }}",
        "{% set ns = namespace(get=''['center']) %}{{ ns.get(1000000000) }}",
        "{% set ns = namespace(get=''[key]) %}{{ ns.get(1000000000) }}",
        "{{ messages[0].content | default(**options) }}",
        "{% include 'x' %}",
        # depth
        "{{ " + "not " * 60 + "x }}",
        "{% if 1 %}" * 100 + "{% endif %}" * 100,
    ],
)
def test_templates_that_are_not_plain(source: str) -> None:
    assert weight(source) is None


def test_the_weight_grows_with_the_copied_text() -> None:
    one, two = weight("{{ messages }}"), weight("{{ messages ~ messages }}")
    assert one is not None
    assert two is not None
    assert one < two
    assert weight("{{ x }}" * 1000) == 1000 * ((weight("{{ x }}") or 0) - 1) + 1
