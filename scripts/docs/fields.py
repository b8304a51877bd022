"""The fields of dataclasses: names, types and attribute docstrings."""

import ast
import inspect
import textwrap
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

OBVIOUS = {
    "advice": "What to do about it; may be empty.",
    "codec": "FFmpeg's name of the codec; empty if it has none.",
    "description": "What the model is.",
    "ends_shot": "Whether the last frame ends a shot.",
    "expected": "What the output should have.",
    "found": "What it has.",
    "is_default": "Whether players choose it by default.",
    "is_fine": "Whether nothing has to be done.",
    "is_kept": "Whether both agree.",
    "label": "The setting in a few words; empty if there is only one.",
    "language": "Code of the language; may be empty.",
    "message": "What was found, in a sentence.",
    "name": "Name of the model.",
    "num_frames": "Number of frames.",
    "num_parts": "Number of parts.",
    "num_shots": "Number of shots.",
    "outcome": "What became of the file.",
    "output": "Path of the output.",
    "path": "Path of the source.",
    "seconds": "Seconds of work.",
    "seconds_for_whole": "Seconds for the whole video.",
    "stages": "Seconds in each stage.",
    "start": "Index of the first frame in the source.",
    "starts_shot": "Whether the first frame starts a shot.",
    "stop": "Index of the frame after the last one.",
    "subject": "What was examined.",
    "title": "Title of the stream; may be empty.",
    "index": "Number of the stream in the source.",
}
"""Descriptions of fields whose classes have no docstring for them."""

_SIMPLE = {bool: "boolean", int: "integer", float: "number"}


@dataclass(frozen=True)
class Field:
    """A field of a JSON object."""

    name: str
    schema: Schema
    """JSON Schema of its value, without a description."""
    description: str = ""
    is_required: bool = True


def fields_of(cls: type, *names: str) -> list[Field]:
    """Return the fields of a dataclass, or some of them, as JSON holds them; properties count when named."""
    hints, texts = get_type_hints(cls), attribute_docstrings(cls)
    hints |= {name: get_type_hints(each.fget)["return"] for name, each in _properties(cls).items()}
    chosen = names or [each.name for each in fields(cls) if "is_internal" not in each.metadata]
    return [Field(name, schema_of(hints[name]), texts.get(name) or OBVIOUS.get(name, "")) for name in chosen]


def attribute_docstrings(cls: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class, and the first lines of those of its properties."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {name: (each.__doc__ or "").splitlines()[0] for name, each in _properties(cls).items()}
    for line, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr):
            found[ast.unparse(line.target)] = " ".join(ast.literal_eval(after.value).split())
    return found


def schema_of(hint: Any) -> Schema:
    """Return the JSON Schema of values of a type; paths and other objects become text."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        schemas = [schema_of(each) for each in arguments if each is not types.NoneType]
        kinds = [each["type"] for each in schemas] + (["null"] if types.NoneType in arguments else [])
        return {**schemas[0], "type": kinds}
    if origin in (tuple, list):
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if isinstance(hint, type) and is_dataclass(hint):
        return object_schema(fields_of(hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [str(each) for each in hint]}
    return {"type": _SIMPLE.get(hint, "string")}


def object_schema(members: list[Field]) -> Schema:
    """Return the JSON Schema of an object with these fields and no others."""
    described = {
        each.name: {**each.schema, **({"description": each.description} if each.description else {})}
        for each in members
    }
    return {
        "type": "object",
        "properties": described,
        "required": [each.name for each in members if each.is_required],
        "additionalProperties": False,
    }


def type_name(schema: Schema) -> str:
    """Return the type of a value in a few words."""
    kind = schema.get("type", "string")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if kind == "array":
        return f"list of {type_name(schema['items'])}"
    if isinstance(kind, list):
        return " or ".join(kind)
    if schema.get("additionalProperties"):
        return "object by name"
    return str(kind)


def _properties(cls: type) -> dict[str, Any]:
    return dict(inspect.getmembers(cls, lambda each: isinstance(each, property)))
