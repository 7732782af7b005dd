"""Reads tool calls in the format that a ToolFormat describes.

A call begins for the sink as soon as its name and the first character of its arguments are read;
the arguments follow as they arrive. A call in JSON is understood in every format: constrained calls
are written so (call_grammar.py), and models mix the formats up.
"""

import json
import re
from collections.abc import Callable, Sequence

from headrace.server.parsing.events import EventSink
from headrace.server.parsing.literals import JSON, PYTHON, LiteralReader
from headrace.server.parsing.parameter_values import ToolSchemas, json_of, properties_of, takes_text
from headrace.server.parsing.reader import Emit, MalformedError, Markers, Step, TextReader
from headrace.server.parsing.tool_format import Field, Part, ToolFormat

_NAME = re.compile(r"[A-Za-z0-9_.:/\-]{1,256}")
_WORD = re.compile(r"[A-Za-z0-9_.]*")
_CALL_ID = re.compile(r"[!-~]{1,256}")
_ARGUMENT_KEYS = ("arguments", "parameters")
_OTHER_KEYS = ("id", "type")
_SEPARATORS = (",", ";")
_NOT_IN_WORDS = ("\n", "<")
"""Names and keys end there, so that text which is no call is recognized early."""


class CallParser:
    """Reads calls for one answer.

    Its coroutines raise MalformedError where the text is no call. The reader then holds what was
    read and is in no event.
    """

    def __init__(
        self, reader: TextReader, sink: EventSink, tool_format: ToolFormat, tools: ToolSchemas
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._format = tool_format
        self._tools = tools
        self._json = LiteralReader(reader, JSON)
        self._python = LiteralReader(reader, PYTHON)
        self._literals = LiteralReader(reader, tool_format.dialect)
        self._parts = tool_format.call_parts
        self._parameter = tool_format.parameter_parts
        self._header = re.compile(tool_format.header)
        self._is_bare = False

    def calls(self, begin: str) -> Step[None]:
        """Read the calls after ``begin``, which is read and held; empty: the answer begins with a
        call."""
        reader = self._reader
        self._is_bare = not begin
        yield from reader.space()
        in_list = yield from self._take("[")
        yield from reader.space()
        if (yield from reader.peek()) == "{":
            yield from self._each(self._json_call, in_list)
        elif Field("python") in self._parts:
            yield from self._each(self._python_call, in_list)
        elif in_list or not begin:
            raise MalformedError
        elif begin == self._format.section[0]:
            yield from self._group()
        else:
            yield from self._call(self._parts[1:] if self._parts[0] == begin else self._parts)
        yield from self._closings()

    def arguments(self, name: str) -> Step[None]:
        """Read the arguments, a JSON object, of a call whose name was read elsewhere."""
        self._reader.hold()
        yield from self._arguments(self._json, name, None)

    def _closings(self) -> Step[None]:
        """The texts that may end a call or a group, each at most once."""
        closings, begins = list(self._format.closings), self._format.begins
        while True:
            yield from self._reader.space()
            found = yield from self._reader.next_of((*closings, *begins))
            if found not in closings:
                return
            assert found is not None
            self._reader.skip(len(found))
            closings.remove(found)

    def _take(self, text: str) -> Step[bool]:
        """Read this text if it comes next."""
        found = (yield from self._reader.next_of((text,))) is not None
        if found:
            self._reader.skip(len(text))
        return found

    def _begin(self, name: str, call_id: str | None) -> None:
        if not _NAME.fullmatch(name) or (self._is_bare and name not in self._tools):
            raise MalformedError
        if call_id is not None and not _CALL_ID.fullmatch(call_id):
            call_id = None
        self._reader.release()
        self._sink.begin_call(name, call_id)

    def _end(self) -> None:
        self._sink.end_call(is_complete=True)

    def _each(self, read_call: Callable[[], Step[None]], in_list: bool) -> Step[None]:
        """One or more calls, in a list or one after the other."""
        reader = self._reader
        while True:
            yield from read_call()
            reader.hold()
            yield from reader.space()
            is_separated = (yield from reader.next_of(_SEPARATORS)) is not None
            if is_separated:
                reader.skip(1)
                yield from reader.space()
            if in_list and (yield from self._take("]")):
                break
            char = yield from reader.peek()
            is_python = read_call == self._python_call
            is_next = (char.isalpha() or char == "_") if is_python else char == "{"
            if is_next and (is_separated or not is_python or not in_list):
                continue
            if is_separated and char:
                raise MalformedError
            break
        reader.release()

    def _json_call(self) -> Step[None]:
        """{"name": …, "arguments": {…}}, in any order."""
        reader = self._reader
        name: str | None = None
        call_id: str | None = None
        arguments: list[str] | None = None
        is_begun = False
        yield from reader.space()
        yield from reader.expect("{")
        while True:
            yield from reader.space()
            if (yield from self._take("}")):
                break
            key = yield from self._json.text()
            yield from reader.space()
            yield from reader.expect(":")
            yield from reader.space()
            if key == "name" and name is None:
                name = yield from self._json.text()
            elif key in _ARGUMENT_KEYS and not is_begun and name is not None and arguments is None:
                char = yield from reader.peek()
                if char == "{":
                    self._begin(name, call_id)
                    is_begun = True
                    yield from self._json.value(self._sink.arguments)
                    self._end()
                    reader.hold()
                else:
                    arguments = yield from self._odd_arguments()
            elif key in _ARGUMENT_KEYS and not is_begun and arguments is None:
                arguments = yield from self._odd_arguments()
            elif key == "id" and (yield from reader.peek()) == '"':
                call_id = yield from self._json.text()
            elif self._is_bare and key not in _OTHER_KEYS:
                raise MalformedError
            else:
                yield from self._json.value(_ignore)
            yield from reader.space()
            if not (yield from self._take(",")) and (yield from reader.peek()) != "}":
                raise MalformedError
        if not is_begun:
            if name is None:
                raise MalformedError
            self._begin(name, call_id)
            self._sink.arguments("".join(arguments or ["{}"]))
            self._end()
        reader.release()

    def _odd_arguments(self) -> Step[list[str]]:
        """Arguments before the name, or as a string that holds JSON, or null."""
        pieces: list[str] = []
        yield from self._json.value(pieces.append)
        value = json.loads("".join(pieces))
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise MalformedError from None
            pieces = [json.dumps(value)]
        if value is None:
            return ["{}"]
        if not isinstance(value, dict):
            raise MalformedError
        return pieces

    def _python_call(self) -> Step[None]:
        """name(key=value, …). Values without a key are those of the schema, in its order."""
        reader, emit = self._reader, self._sink.arguments
        name = yield from reader.run(_WORD)
        yield from reader.expect("(")
        if not name:
            raise MalformedError
        self._begin(name, None)
        emit("{")
        unnamed = list(properties_of(self._tools.get(name)))
        is_first = True
        while True:
            reader.hold()
            yield from reader.space()
            if (yield from self._take(")")):
                break
            char = yield from reader.peek()
            if char.isalpha() or char == "_":
                key = yield from reader.run(_WORD)
                yield from reader.space()
                yield from reader.expect("=")
                if key in unnamed:
                    unnamed.remove(key)
            elif unnamed:
                key = unnamed.pop(0)
            else:
                raise MalformedError
            yield from reader.space()
            reader.release()
            emit(f"{'' if is_first else ', '}{json.dumps(key)}: ")
            is_first = False
            yield from self._python.value(emit)
            yield from reader.space()
            if not (yield from self._take(",")) and (yield from reader.peek()) != ")":
                raise MalformedError
        reader.release()
        emit("}")
        self._end()

    def _group(self) -> Step[None]:
        """Calls between the begin and the end of a group."""
        reader = self._reader
        first = self._parts[0]
        assert isinstance(first, str)
        num_calls = 0
        while True:
            yield from reader.space()
            if not (yield from self._take(first)):
                break
            yield from self._call(self._parts[1:])
            num_calls += 1
            reader.hold()
        if not num_calls:
            raise MalformedError
        reader.release()

    def _call(self, parts: Sequence[Part]) -> Step[None]:
        reader = self._reader
        name, call_id = "", None
        is_done = False
        for index, part in enumerate(parts):
            rest = parts[index + 1 :]
            if isinstance(part, str):
                yield from reader.space()
                if (yield from self._take(part)) or is_done:
                    continue
                if Field("arguments") in rest and (yield from reader.peek()) == "{":
                    continue
                raise MalformedError
            if part.kind == "kind":
                yield from self._word_before(self._ends_of_header(rest))
            elif part.kind == "name":
                text = yield from self._word_before(self._ends_of_header(rest))
                found = self._header.fullmatch(text)
                if found is None:
                    raise MalformedError
                name, call_id = found["name"].strip(), found.groupdict().get("id")
            elif part.kind == "arguments":
                yield from self._arguments(self._literals, name, call_id)
                is_done = True
            elif part.kind == "parameters":
                yield from self._parameters(name)
                is_done = True

    def _arguments(self, literals: LiteralReader, name: str, call_id: str | None) -> Step[None]:
        yield from self._reader.space()
        if (yield from self._reader.peek()) != "{":
            raise MalformedError
        self._begin(name, call_id)
        yield from literals.value(self._sink.arguments)
        self._end()

    def _ends_of_header(self, rest: Sequence[Part]) -> tuple[str, ...]:
        """The texts that may follow a name."""
        ends: list[str] = []
        for part in rest:
            if isinstance(part, str):
                ends.append(part)
            elif part.kind == "parameters":
                ends += [each for each in self._parameter[:1] if isinstance(each, str)]
            else:
                ends += ["{"] if part.kind == "arguments" else []
                break
        return tuple(ends)

    def _word_before(self, ends: tuple[str, ...]) -> Step[str]:
        """The text up to one of these ends, which is not read; white space around it is."""
        reader = self._reader
        yield from reader.space()
        pieces: list[str] = []
        end = yield from reader.copy_until(Markers((*ends, *_NOT_IN_WORDS)), pieces.append)
        if end is None:
            raise MalformedError
        reader.skip(-len(end))
        yield from reader.space()
        if (yield from reader.next_of(ends)) is None:
            raise MalformedError
        return "".join(pieces).strip()

    def _text_before(self, ends: Markers) -> Step[str]:
        pieces: list[str] = []
        end = yield from self._reader.copy_until(ends, pieces.append)
        if end is None:
            raise MalformedError
        self._reader.skip(-len(end))
        return "".join(pieces)

    def _parameters(self, name: str) -> Step[None]:
        reader, emit = self._reader, self._sink.arguments
        first = self._parameter[0]
        assert isinstance(first, str)
        self._begin(name, None)
        emit("{")
        is_first = True
        while True:
            reader.hold()
            yield from reader.space()
            if not (yield from self._take(first)):
                break
            yield from self._one_parameter(name, "" if is_first else ", ")
            is_first = False
        reader.release()
        emit("}")
        self._end()

    def _one_parameter(self, name: str, separator: str) -> Step[None]:
        reader, emit = self._reader, self._sink.arguments
        key = ""
        for index, part in enumerate(self._parameter[1:], start=1):
            if isinstance(part, str):
                yield from reader.space()
                yield from reader.expect(part)
                continue
            after = self._parameter[index + 1]
            assert isinstance(after, str)
            if part.kind == "key":
                key = yield from self._word_before((after,))
                continue
            end = Markers((after,))
            begin = f"{separator}{json.dumps(key, ensure_ascii=False)}: "
            schema = properties_of(self._tools.get(name)).get(key)
            if self._format.has_lines:
                yield from self._take("\n")
            if not takes_text(schema):
                text = yield from self._text_before(end)
                reader.release()
                emit(begin + json_of(text.strip(), schema))
                continue
            reader.release()
            emit(f'{begin}"')
            yield from self._text_value(end, emit)
            emit('"')

    def _text_value(self, end: Markers, emit: Emit) -> Step[None]:
        """A string, as it arrives; a line break before the end is not part of it."""
        waiting = ""

        def write(piece: str) -> None:
            nonlocal waiting
            piece = waiting + piece
            waiting = "\n" if self._format.has_lines and piece.endswith("\n") else ""
            piece = piece[: len(piece) - len(waiting)]
            emit(json.dumps(piece, ensure_ascii=False)[1:-1])

        found = yield from self._reader.copy_until(end, write)
        if found is None:
            emit(json.dumps(waiting)[1:-1])
            raise MalformedError
        self._reader.skip(-len(found))


def _ignore(_: str) -> None:
    pass
