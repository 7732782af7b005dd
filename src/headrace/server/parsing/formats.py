"""The formats of tool calls and of reasoning, one row each, and which one a model has.

The more specific of two formats comes first: the first whose signs a chat template has is the
model's.
"""

from headrace.core.errors import InvalidParameterError
from headrace.server.parsing.literals import FUNCTION_GEMMA, GEMMA4, PYTHON
from headrace.server.parsing.tool_format import ReasoningFormat, ToolFormat

NONE = "none"
"""The parser name that leaves the output as it is."""

_HERMES = ToolFormat(
    "hermes",
    "<tool_call>\n{call}\n</tool_call>",
    signs=("<tool_call>",),
    aliases=("qwen", "qwen25", "qwen3", "longcat", "nous"),
)

DEFAULT_TOOL_FORMAT = _HERMES
"""Of models whose chat template shows no format."""

TOOL_FORMATS: tuple[ToolFormat, ...] = (
    ToolFormat(
        "openai",
        "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>",
        is_harmony=True,
        signs=("<|channel|>", "<|message|>"),
        aliases=("gpt_oss", "gptoss", "gpt-oss", "harmony"),
    ),
    ToolFormat(
        "kimi_k2",
        "<|tool_call_begin|>{name}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>",
        section=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        written_name="functions.{name}:{index}",
        header=r"(?P<id>(?:functions\.)?(?P<name>[^:]+)(?::\d+)?)",
        signs=("<|tool_calls_section_begin|>",),
        aliases=("kimi",),
    ),
    ToolFormat(
        "deepseek_v3",
        "<｜tool▁call▁begin｜>{kind}<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"
        "<｜tool▁call▁end｜>",
        section=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        signs=("<｜tool▁calls▁begin｜>", "```json"),
        aliases=("deepseekv3", "deepseek_r1"),
    ),
    ToolFormat(
        "deepseek_v31",
        "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>",
        section=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        signs=("<｜tool▁calls▁begin｜>",),
        aliases=("deepseekv31",),
    ),
    ToolFormat(
        "minimax_m2",
        '<invoke name="{name}">\n{parameters}\n</invoke>',
        section=("<minimax:tool_call>", "</minimax:tool_call>"),
        parameter='<parameter name="{key}">{value}</parameter>',
        signs=("<minimax:tool_call>",),
        aliases=("minimax-m2",),
    ),
    ToolFormat(
        "seed_oss",
        "<function={name}>\n{parameters}\n</function>",
        section=("<seed:tool_call>", "</seed:tool_call>"),
        parameter="<parameter={key}>{value}</parameter>",
        signs=("<seed:tool_call>",),
    ),
    ToolFormat(
        "qwen3_coder",
        "<function={name}>\n{parameters}\n</function>",
        section=("<tool_call>", "</tool_call>"),
        parameter="<parameter={key}>\n{value}\n</parameter>",
        signs=("<function=", "<parameter="),
        aliases=("qwen3_xml", "qwen3-coder", "step3p5"),
    ),
    ToolFormat(
        "glm45",
        "<tool_call>{name}\n{parameters}\n</tool_call>",
        parameter="<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>",
        signs=("<arg_key>",),
        aliases=("glm", "glm46", "glm47"),
    ),
    ToolFormat(
        "functiongemma",
        "<start_function_call>call:{name}{arguments}<end_function_call>",
        dialect=FUNCTION_GEMMA,
        signs=("<start_function_call>",),
    ),
    ToolFormat(
        "gemma4",
        "<|tool_call>call:{name}{arguments}<tool_call|>",
        dialect=GEMMA4,
        signs=("<|tool_call>",),
    ),
    ToolFormat(
        "gemma",
        "```tool_code\n{python}\n```",
        signs=("```tool_code",),
        aliases=("gemma3",),
    ),
    ToolFormat(
        "mistral",
        "[TOOL_CALLS]{name}[ARGS]{arguments}",
        header=r"(?P<name>[^\[]+)(?:\[CALL_ID\](?P<id>[^\[]+))?",
        call_id_length=9,
        signs=("[TOOL_CALLS]",),
    ),
    _HERMES,
    ToolFormat(
        "phi4_mini_json",
        "<|tool_call|>{call}<|/tool_call|>",
        signs=("<|tool_call|>", "<|/tool_call|>"),
        aliases=("phi4", "phi4_mini"),
    ),
    ToolFormat(
        "granite",
        "<|tool_call|>{call}",
        signs=("<|tool_call|>",),
        also_begins=("<tool_call>",),
    ),
    ToolFormat(
        "jamba",
        "<tool_calls>{call}</tool_calls>",
        signs=("<tool_calls>",),
    ),
    ToolFormat(
        "internlm",
        "<|action_start|><|plugin|>{call}<|action_end|>",
        arguments_key="parameters",
        signs=("<|action_start|>", "<|plugin|>"),
        aliases=("internlm2",),
    ),
    ToolFormat(
        "pythonic",
        "{python}",
        section=("", "<|python_end|>"),
        dialect=PYTHON,
        also_begins=("<|python_start|>",),
        may_be_bare=True,
        signs=("[func_name1(",),
        aliases=("llama4_pythonic", "llama4", "llama32_pythonic", "olmo3", "toolace"),
    ),
    ToolFormat(
        "llama3_json",
        "{call}",
        arguments_key="parameters",
        also_begins=("<|python_tag|>",),
        may_be_bare=True,
        signs=('"parameters": dictionary of argument name',),
        aliases=("llama4_json", "llama"),
    ),
    ToolFormat(
        "json",
        "{call}",
        may_be_bare=True,
        aliases=("xlam", "plain_json"),
    ),
)

REASONING_FORMATS: tuple[ReasoningFormat, ...] = (
    ReasoningFormat("mistral", "[THINK]", "[/THINK]", signs=("[THINK]",)),
    ReasoningFormat(
        "gemma4", "<|channel>thought", "<channel|>", signs=("<|channel>", "<channel|>")
    ),
    ReasoningFormat("seed_oss", "<seed:think>", "</seed:think>", signs=("<seed:think>",)),
    ReasoningFormat("kimi_vl", "◁think▷", "◁/think▷", signs=("◁think▷",)),
    ReasoningFormat(
        "cohere", "<|START_THINKING|>", "<|END_THINKING|>", signs=("<|START_THINKING|>",)
    ),
    ReasoningFormat("exaone", "<thought>", "</thought>", signs=("</thought>",)),
    ReasoningFormat(
        "think",
        "<think>",
        "</think>",
        signs=("<think>", "</think>"),
        aliases=(
            *("deepseek_r1", "deepseek_v3", "qwen3", "glm45", "step3", "olmo3", "ernie45"),
            *("minimax_m2", "nemotron", "kimi_k2", "hunyuan", "holo2", "smollm3"),
        ),
    ),
    ReasoningFormat(
        "granite",
        "Here is my thought process:",
        "Here is my response:",
        signs=("Here is my thought process:",),
    ),
)

HARMONY_REASONING = ("openai_gptoss", "openai", "gpt_oss", "harmony")
"""Names of gpt-oss' reasoning, which is part of its format of tool calls."""


def tool_format_of(template: str) -> ToolFormat:
    """The format of tool calls of a model with this chat template."""
    for each in TOOL_FORMATS:
        if each.signs and all(sign in template for sign in each.signs):
            return each
    return DEFAULT_TOOL_FORMAT


def reasoning_format_of(template: str) -> ReasoningFormat | None:
    """The format of reasoning of a model with this chat template; None if it shows none."""
    for each in REASONING_FORMATS:
        if any(sign in template for sign in each.signs):
            return each
    return None


def tool_format(name: str) -> ToolFormat:
    """The format of this name; raises InvalidParameterError, naming the option."""
    for each in TOOL_FORMATS:
        if name == each.name or name in each.aliases:
            return each
    names = ", ".join(sorted([*(each.name for each in TOOL_FORMATS), NONE]))
    raise InvalidParameterError("tool_call_parser", f"must be one of {names}, got {name!r}")


def reasoning_format(name: str) -> ReasoningFormat:
    """The format of this name; raises InvalidParameterError, naming the option."""
    for each in REASONING_FORMATS:
        if name == each.name or name in each.aliases:
            return each
    names = ", ".join(
        sorted([*(each.name for each in REASONING_FORMATS), HARMONY_REASONING[0], NONE])
    )
    raise InvalidParameterError("reasoning_parser", f"must be one of {names}, got {name!r}")


def check_tool_call_parser(param: str, name: str) -> None:
    """Raises InvalidParameterError for an unknown name."""
    if name != NONE:
        tool_format(name)


def check_reasoning_parser(param: str, name: str) -> None:
    """Raises InvalidParameterError for an unknown name."""
    if name not in (NONE, *HARMONY_REASONING):
        reasoning_format(name)
