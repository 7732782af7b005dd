"""The content format that a template reads, detected from its syntax."""

import pytest

from headrace.engine.rendering.content_format import ContentFormat, detect_content_format
from headrace.engine.rendering.jinja_environment import create_environment

TEXT = ContentFormat(reads_parts=False, reads_text=True)
PARTS = ContentFormat(reads_parts=True, reads_text=False)
BOTH = ContentFormat(reads_parts=True, reads_text=True)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", TEXT),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", TEXT),
        ("{% for line in messages[0].content.split('x') %}{{ line }}{% endfor %}", TEXT),
        ("{% for m in messages %}{% for c in m.tool_calls %}{% endfor %}{% endfor %}", TEXT),
        ("{% for d in documents %}{% for p in d.content %}{% endfor %}{% endfor %}", TEXT),
        ("{% for m in messages %}{% for p in m.content %}{% endfor %}{% endfor %}", PARTS),
        ("{% for m in messages %}{% for p in m['content'] %}{% endfor %}{% endfor %}", PARTS),
        (
            "{% for m in messages[1:] %}{% for p in m.get('content') %}{% endfor %}{% endfor %}",
            PARTS,
        ),
        (
            "{% for m in messages|reverse %}{% for p in m.content|list %}{% endfor %}{% endfor %}",
            PARTS,
        ),
        ("{% for p in messages[0].content %}{% endfor %}", PARTS),
        ("{% for p in (messages|last).content %}{% endfor %}", PARTS),
        (
            "{% set rest = messages[1:] %}{% for m in rest %}{% set c = m.content %}"
            "{% for p in c if p.type == 'text' %}{% endfor %}{% endfor %}",
            PARTS,
        ),
        (
            "{% set ns = namespace(all=messages) %}{% for m in ns.all %}{% set ns.c = m.content %}"
            "{% for p in ns.c %}{% endfor %}{% endfor %}",
            PARTS,
        ),
        (
            "{% for m in messages %}{{ m.content | map(attribute='text') | join }}{% endfor %}",
            PARTS,
        ),
        (
            "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
            "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}",
            BOTH,
        ),
        (
            "{% macro show(content) %}{% if content is not string %}{% for p in content %}"
            "{% endfor %}{% endif %}{% endmacro %}"
            "{% for m in messages %}{{ show(m.content) }}{% endfor %}",
            BOTH,
        ),
        (
            "{% macro show(role, text) %}{% for p in text %}{% endfor %}{% endmacro %}"
            "{% for m in messages %}{{ show(m.role, text=m.content) }}{% endfor %}",
            PARTS,
        ),
    ],
)
def test_the_content_format_is_read_from_the_syntax(source: str, expected: ContentFormat) -> None:
    assert detect_content_format(create_environment().parse(source)) == expected
