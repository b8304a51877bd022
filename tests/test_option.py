"""An option is written once: its field tells how it is parsed, checked and shown."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import pytest

from vidx4.diffusion.options import Speed, UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs.request import Request
from vidx4.media.options import Codec, EncodeOptions
from vidx4.option import Option, Panel, as_typed, build, options_of
from vidx4.video import TimeRange

REQUEST = options_of(Request)


@dataclass(frozen=True)
class Inner:
    depth: Annotated[int | None, Option("How deep.", Panel.INPUT, minimum=1, maximum=3, default="as is")] = (
        None
    )
    words: Annotated[tuple[str, ...], Option("Words.", Panel.JOB, flag="word", short="-w")] = ()


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    plain: int = 3
    is_loud: Annotated[bool, Option("Whether to shout.", Panel.JOB)] = True


def test_options_are_found_in_nested_classes_by_their_flags() -> None:
    options = options_of(Outer)
    assert list(options) == ["depth", "word", "is-loud"]
    assert (options["word"].name, options["word"].is_list, options["word"].kind) == ("words", True, str)
    assert options["word"].declarations == ["-w", "--word"]
    assert options["is-loud"].declarations == ["--is-loud/--no-is-loud"]
    assert (options["depth"].metavar, options["depth"].default_text) == ("N", "as is")


def test_a_class_is_built_from_values_by_flag() -> None:
    made = build(Outer, {"word": ("a", "b"), "is-loud": False, "unknown": 1})
    assert made == Outer(Inner(words=("a", "b")), is_loud=False)
    assert build(Request, {"stop": Fraction(2), "codec": "hevc"}) == Request(
        span=TimeRange(stop=Fraction(2)), encode=EncodeOptions(codec=Codec.HEVC)
    )


def test_plain_words_become_choices() -> None:
    options = UpscaleOptions(speed="fast", dtype="float16")
    assert isinstance(options.speed, Speed)
    assert options == UpscaleOptions(speed=Speed.FAST, dtype="float16")
    assert hash(options) == hash(UpscaleOptions(speed=Speed.FAST, dtype="float16"))


@pytest.mark.parametrize(
    ("flag", "text", "value"),
    [
        ("start", "1:30", Fraction(90)),
        ("start", ".5", Fraction(1, 2)),
        ("frame-rate", "24000/1001", Fraction(24000, 1001)),
        ("codec", "av1", Codec.AV1),
        ("width", "640", 640),
        ("encoder-option", "x=y", "x=y"),
    ],
)
def test_a_text_is_parsed_and_written_again(flag: str, text: str, value: object) -> None:
    option = REQUEST[flag]
    assert option.parse(text) == value
    assert option.parse(option.format((value,) if option.is_list else value)[0]) == value


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("start", "soon"),
        ("frame-rate", "1/0"),
        ("frame-rate", "0"),
        ("codec", "H264"),
        ("width", "1"),
        ("crf", "1.5"),
    ],
)
def test_what_a_text_can_not_be_names_the_flag_and_the_text(flag: str, text: str) -> None:
    with pytest.raises(OptionError, match=f"--{flag} .*{text}"):
        REQUEST[flag].parse(text)


@pytest.mark.parametrize("size", [6 * 10**9, 512 * 2**20, 7_838_315_315])
def test_a_size_is_written_exactly(size: int) -> None:
    option = options_of(UpscaleOptions)["max-memory"]
    assert option.parse(option.format(size)[0]) == size


def test_values_are_written_as_a_shell_reads_them() -> None:
    values = {"codec": Codec.FFV1, "encoder-option": ("a=1", "b=x y"), "stop": Fraction(3, 2)}
    assert (
        as_typed(values, REQUEST) == "--codec=ffv1 --encoder-option=a=1 '--encoder-option=b=x y' --stop=1.5"
    )
