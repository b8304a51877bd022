"""A preview shows moments of a film before and after, with sound, and estimates the cost of the whole."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.capabilities import needs_links
from tests.community import save_network
from tests.conftest import MakeVideo
from tests.helpers import as_frames, nearest, packets, read_all, upscale_nearest
from tests.moving import pan
from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import (
    MemoryLimitError,
    ModelError,
    OptionError,
    OutputError,
    SourceError,
    StoppedError,
    Vidx4Error,
)
from vidx4.frames import FrameBatch
from vidx4.jobs.destination import Destination
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.moments import choose_moments
from vidx4.jobs.plan import plan_video
from vidx4.jobs.preview.crops import Comparison, compare, write_crops
from vidx4.jobs.preview.layout import compose
from vidx4.jobs.preview.options import Layout, PreviewOptions
from vidx4.jobs.preview.run import Preview, PreviewPlan, Variant, _upright, plan_preview, run_preview
from vidx4.jobs.preview.sweep import variants_of
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.concat import concatenate
from vidx4.media.decode import read_frames
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe
from vidx4.temporal.warm_up import warm_up_of
from vidx4.video import TimeRange

LONDON = Path(__file__).parents[3] / "samples" / "london.mp4"
OPTIONS = UpscaleOptions(model="compact", device="cpu", noise_level=20)
ONLY = Variant("", OPTIONS, {}, "vidx4 upscale film.mp4")
FAST = Request(encode=EncodeOptions(encoder_preset="ultrafast", crf=30))


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.from_options(OPTIONS)


@pytest.fixture
def film(make_video: MakeVideo) -> Path:
    """Return a film of three shots with sound, 64x48; the second is blurred."""
    shots = [pan(25, 1.0, 0.5)[..., :48, :64], pan(25, 0.5, 0.0, "kodim23")[..., :48, :64]]
    blurred = torch.nn.functional.avg_pool2d(shots[0].float(), 9, stride=1, padding=4).to(torch.uint8) // 4
    return make_video("film.mp4", frames=as_frames(torch.cat([shots[0], blurred, shots[1]])), num_frames=75)


def test_left_is_bicubic_and_right_is_the_model(tmp_path: Path, upscaler: Upscaler) -> None:
    shown = PreviewOptions(at=Fraction(1, 2), duration=Fraction(1, 20))
    encode = EncodeOptions(codec="ffv1")
    plan = plan_preview(
        probe(LONDON), [ONLY], tmp_path / "split.mkv", request=Request(encode=encode), shown=shown
    )
    preview = run_preview(plan, upscaler, batch_size=4)
    span = TimeRange(Fraction(1, 2), Fraction(1, 2) + Fraction(1, 20))
    first, *following = read_frames(probe(LONDON), span)
    low_res = FrameBatch.of([first], warm_up_of(following))
    split = next(read_frames(probe(preview.videos[0]))).data.int()
    for half, expected in (
        (slice(0, 630), enlarge_frames(low_res)),
        (slice(650, None), upscaler(low_res).batch),
    ):
        rows = slice(0, 900)  # the names stand below
        difference = split[..., rows, half] - expected.data[..., rows, half].int()
        assert difference.abs().float().mean() < 1
    assert probe(preview.videos[0]).num_frames == 3
    with Image.open(preview.crops) as crops:
        assert crops.width > 2 * 256


def made(plan: PreviewPlan, upscaler: Upscaler) -> tuple[Preview, list[Progress]]:
    seen: list[Progress] = []
    return run_preview(plan, upscaler, 4, Control(seen.append)), seen


def test_moments_of_the_whole_film_are_shown_with_their_sound(film: Path, upscaler: Upscaler) -> None:
    """Three moments of 0.2 s each, one after another."""
    plan = plan_preview(probe(film), [ONLY], request=FAST, shown=PreviewOptions(duration=Fraction(1, 5)))
    preview, seen = made(plan, upscaler)
    (video,) = preview.videos
    assert video == film.with_name("film_x4_preview.mp4")
    shown = probe(video)
    assert (shown.num_frames, shown.duration) == (15, Fraction(15, 25))
    assert [stream.kind for stream in shown.streams] == ["video", "audio"]
    sound = packets(video, 1)
    assert {payload for _, _, payload in sound} <= {payload for _, _, payload in packets(film, 1)}
    assert float(sound[-1][0]) == pytest.approx(0.6, abs=0.05)
    assert max(float(b[0] - a[0]) for a, b in pairwise(sound)) < 0.05
    assert (seen[-1].num_done, seen[-1].num_frames) == (15, 15)
    assert preview.page is not None
    assert sorted(path.name for path in film.parent.iterdir()) == [
        "film.mp4",
        "film_x4_preview.html",
        "film_x4_preview.mp4",
        "film_x4_preview_crops.png",
    ]


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        (Fraction(64, 45), (364, 192)),
        (Fraction(4), (1024, 192)),
        (Fraction(16), (1024, 48)),
        (Fraction(1, 16), (16, 192)),
        (Fraction(2000), (256, 192)),
        (Fraction(30000), (256, 192)),
        (Fraction(1, 30000), (256, 192)),
    ],
)
def test_pixels_are_shown_square_within_reason(
    ratio: Fraction, size: tuple[int, int], film: Path, upscaler: Upscaler
) -> None:
    odd = replace(probe(film), sample_aspect_ratio=ratio)
    assert _upright(Image.new("RGB", (256, 192)), odd).size == size


@pytest.mark.parametrize(
    ("num_frames", "num_shown"), [(1, 1), (3, 3), (12, 5), (50, 10), (250, 48), (750, 75)]
)
def test_a_preview_is_a_small_share_of_its_film(
    num_frames: int, num_shown: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    film = probe(make_video(num_frames=num_frames, num_audio=0))
    plan = plan_preview(film, [ONLY], request=FAST)
    assert (plan.num_frames, plan.shows_all) == (num_shown, num_shown == num_frames)
    one = plan_preview(film, [ONLY], request=FAST, shown=PreviewOptions(at=Fraction(0)))
    assert one.num_frames <= max(5, min(num_frames // 5, 50))
    more = plan_preview(film, [ONLY], request=FAST, shown=PreviewOptions(samples=2))
    assert more.num_frames <= max(num_shown, num_frames // 5, 2)


def test_a_stopped_preview_promises_nothing_that_it_does_not_keep(film: Path, upscaler: Upscaler) -> None:
    both = [replace(ONLY, label=f"steps {n}") for n in (1, 2)]
    plan = plan_preview(probe(film), both, request=FAST)
    for num_done, kept in ((4, 0), (20, 1)):
        control = Control()

        def stop(progress: Progress, num_done: int = num_done, control: Control = control) -> None:
            if progress.num_done >= num_done:
                control.stop.set()

        with pytest.raises(StoppedError) as stopped:
            run_preview(plan, upscaler, 4, Control(stop, stop=control.stop))
        assert not getattr(stopped.value, "__notes__", [])
        assert [str(video) in str(stopped.value) for video in plan.videos] == [bool(kept), False]
        assert len(list(film.parent.iterdir())) == 1 + kept


def test_a_folder_that_goes_away_under_a_preview_is_named(
    film: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidx4.jobs.storage.MAX_WAIT_SECONDS", 0.1)
    folder = film.parent / "shown"
    plan = plan_preview(probe(film), [ONLY], Destination(folder, is_folder=True), request=FAST)

    def remove(_: Progress) -> None:
        if folder.exists():
            folder.rename(film.parent / "away")

    with pytest.raises(Vidx4Error, match="shown"):
        run_preview(plan, upscaler, 4, Control(remove))


@needs_links
def test_links_at_the_names_of_a_preview_are_not_followed(film: Path, upscaler: Upscaler) -> None:
    mine = film.with_name("thesis.txt")
    mine.write_text("precious")
    names = [f"film_x4_preview{end}" for end in (".mp4", ".html", "_crops.png")]
    for name in names:
        film.with_name(name).symlink_to(mine)
    shown = PreviewOptions(at=Fraction(1, 2), duration=Fraction(1, 20))
    with pytest.raises(OutputError, match="already exists"):
        plan_preview(probe(film), [ONLY], request=FAST, shown=shown)
    plan = plan_preview(probe(film), [ONLY], request=replace(FAST, overwrite=True), shown=shown)
    run_preview(plan, upscaler, 4)
    assert mine.read_text() == "precious"
    assert not any(film.with_name(name).is_symlink() for name in names)


def test_frames_that_fit_no_memory_are_refused(film: Path) -> None:
    huge = replace(probe(film), width=200_000, height=200_000)
    with pytest.raises(MemoryLimitError, match="200000x200000"):
        plan_preview(huge, [ONLY], request=FAST)


def test_moments_are_sharp_and_from_different_shots(film: Path) -> None:
    first, second = choose_moments(probe(film), 2)
    assert first < 25
    assert second >= 50


def test_moments_of_a_film_without_seeking(make_video: MakeVideo) -> None:
    film = make_video("film.avi", num_frames=40, codec="mpeg4", num_b_frames=0, num_audio=0)
    moments = choose_moments(probe(film), 4)
    assert len(moments) == 4
    assert [index // 10 for index in moments] == [0, 1, 2, 3]


def test_a_short_film_has_fewer_moments(make_video: MakeVideo) -> None:
    assert choose_moments(probe(make_video(num_frames=2)), 5) == [0, 1]


def test_settings_are_compared_on_the_same_frames(film: Path, upscaler: Upscaler) -> None:
    variants = [
        Variant(
            f"steps {n}",
            UpscaleOptions(model="compact", device="cpu", num_inference_steps=n),
            {"steps": str(n)},
            "",
        )
        for n in (1, 4)
    ]
    plan = plan_preview(
        probe(film), variants, request=FAST, shown=PreviewOptions(samples=2, duration=Fraction(1, 5))
    )
    preview, seen = made(plan, upscaler)
    assert [video.name for video in preview.videos] == [f"film_x4_preview_steps-{n}.mp4" for n in (1, 4)]
    once, four_times = preview.costs
    assert four_times.seconds_per_frame > 1.5 * once.seconds_per_frame
    assert once.seconds_for_whole == pytest.approx(75 * once.seconds_per_frame)
    assert seen[-1].num_done == seen[-1].num_frames == 20
    with Image.open(preview.crops) as crops:
        assert crops.width == 3 * (192 + 8) + 8  # bicubic and two settings


def batch(value: int, num_frames: int = 3) -> FrameBatch:
    data = torch.full((num_frames, 3, 192, 320), value, dtype=torch.uint8)
    return FrameBatch(data, tuple(range(0, 10 * num_frames, 10)))


def test_layouts() -> None:
    before, after = batch(10), batch(200)
    split = compose(Layout.SPLIT, before, after, 10.0).data[:, 0, 40]
    assert split[0, 0] == 10
    assert split[0, -1] == 200
    side = compose(Layout.SIDE, before, after, 10.0).data
    assert side.shape == (3, 3, 192, 640)
    assert side[0, 0, 40, [0, -1]].tolist() == [10, 200]
    turns = compose(Layout.ALTERNATE, before, after, 10.0).data
    assert turns[:, 0, 40, 160].tolist() == [10, 200, 10]


def test_names_stand_in_the_corners() -> None:
    shown = compose(Layout.SPLIT, batch(10), batch(200), 10.0).data[0, 0]
    assert (shown[150:, :80] == 255).any()  # white letters
    assert (shown[150:, -80:] == 0).any()  # on black


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_clips_are_joined_without_a_gap(suffix: str, film: Path, tmp_path: Path) -> None:
    pieces = []
    for start in (0, 2):
        plan = plan_video(
            film,
            tmp_path / f"{start}{suffix}",
            replace(FAST, span=TimeRange(Fraction(start), Fraction(start + 1))),
        )
        run(Job(plan, LocalExecutor(upscale_nearest), 4))
        pieces.append(plan.written)
    concatenate(pieces, tmp_path / f"both{suffix}")
    both = probe(tmp_path / f"both{suffix}")
    assert [both.seconds_of(pts) for pts in both.pts] == [Fraction(i, 25) for i in range(50)]
    frames = torch.cat([read_all(probe(piece.path)).data for piece in pieces])
    assert torch.equal(read_all(both).data, frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_joined_clips_last_as_long_as_was_asked(suffix: str, make_video: MakeVideo, tmp_path: Path) -> None:
    second = 12800
    slow = make_video(pts=[*(512 * index for index in range(25)), second, 3 * second, 4 * second])
    pieces = []
    for start in ("0.5", "2", "2.9"):
        span = TimeRange(Fraction(start), Fraction(start) + Fraction("0.61"))
        plan = plan_video(slow, tmp_path / f"{start}{suffix}", replace(FAST, span=span))
        run(Job(plan, LocalExecutor(upscale_nearest), 4))
        pieces.append(plan.written)
    concatenate(pieces, tmp_path / f"all{suffix}")
    joined = probe(tmp_path / f"all{suffix}")
    times = [float(joined.seconds_of(pts)) for pts in joined.pts]
    begin = [0, *(0.02 + 0.04 * index for index in range(13))]
    assert times == pytest.approx([*begin, 0.61, 1.22, 1.32], abs=0.0006)


def test_a_range_without_frames_is_refused(film: Path) -> None:
    with pytest.raises(OptionError, match=r"film\.\w+ has no frames"):
        plan_preview(probe(film), [ONLY], shown=PreviewOptions(at=Fraction(9), duration=Fraction(1)))


def test_crops_show_the_most_detailed_part(tmp_path: Path) -> None:
    data = torch.full((1, 3, 200, 300), 50, dtype=torch.uint8)
    data[..., 100:140, 200:240] = torch.randint(0, 255, (1, 3, 40, 40), dtype=torch.uint8)
    frame = FrameBatch(data, (0,))
    write_crops(tmp_path / "crops.png", [Comparison("", frame, {"nearest": nearest(frame)})])
    with Image.open(tmp_path / "crops.png") as picture:
        colors = picture.convert("L").crop((8, 24, 264, 280)).getcolors(100_000)
    assert colors is not None
    assert len(colors) > 100


def test_compare_shows_the_same_frame_of_both(tmp_path: Path) -> None:
    plan = plan_video(LONDON, tmp_path / "big.mp4", Request(encode=EncodeOptions(encoder_preset="ultrafast")))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    crops = compare(LONDON, plan.output)
    assert crops == tmp_path / "big_crops.png"
    with Image.open(crops) as picture:
        left, right = (picture.convert("L").crop((x, 24, x + 256, 280)) for x in (8, 272))
    difference = sum(abs(a - b) for a, b in zip(left.tobytes(), right.tobytes(), strict=True)) / 256**2
    assert 0 < difference < 12


def test_compare_never_overwrites_a_source_or_an_existing_file(tmp_path: Path) -> None:
    copy = tmp_path / "big.mp4"
    copy.write_bytes(LONDON.read_bytes())
    with pytest.raises(OutputError, match=r"big\.mp4 is the source"):
        compare(LONDON, copy, copy, overwrite=True)
    (tmp_path / "big_crops.png").write_text("mine")
    with pytest.raises(OutputError, match=r"big_crops\.png already exists"):
        compare(LONDON, copy)
    with pytest.raises(OutputError, match=r"big_crops\.png"):
        plan_preview(probe(LONDON), [ONLY], copy.with_name("big.mkv"))
    assert copy.read_bytes() == LONDON.read_bytes()


def test_compare_refuses_a_video_that_is_not_the_copy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"london\.mp4"):
        compare(LONDON, LONDON, tmp_path / "crops.png")


def test_a_film_by_three_models_in_one_page(tmp_path: Path, film: Path, upscaler: Upscaler) -> None:
    """Each has its own pictures, time and memory; only a model that knows noise levels gets an estimate."""
    (tmp_path / "models").mkdir()
    one, two = (tmp_path / "models" / f"{name}.safetensors" for name in ("one", "two"))
    save_network(one)
    save_network(two, "ESRGAN")
    sweep = f"model=compact,{one},{two}"
    variants = variants_of(film, {"device": "cpu"}, [sweep])
    assert [each.label for each in variants] == [
        "model compact",
        "model one",
        "model two",
    ]
    shown = PreviewOptions(at=Fraction(1, 2), duration=Fraction(1, 10))
    plan = plan_preview(probe(film), variants, tmp_path / "out.mp4", request=FAST, shown=shown)
    made = run_preview(plan, upscaler)
    assert [each.name for each in made.videos] == [
        "out_model-compact.mp4",
        "out_model-one.mp4",
        "out_model-two.mp4",
    ]
    assert [each.estimated_noise_level is not None for each in made.costs] == [True, False, False]
    assert [each.noise_level is None for each in made.costs] == [False, True, True]
    assert all(each.seconds_per_frame > 0 and each.memory > 2**20 for each in made.costs)
    assert made.page is not None
    text = made.page.read_text(encoding="utf-8")
    assert all(str(name) in text for name in ("compact on cpu", one, two))
    assert len({each.read_bytes() for each in made.videos}) == 3


def test_models_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "x.safetensors" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    names = list(map(str, paths))
    variants = variants_of(tmp_path / "film.mp4", {}, [f"model={','.join(names)}"])
    assert [each.label for each in variants] == [f"model {name}" for name in names]


def test_a_model_whose_name_has_a_comma_is_named(film: Path, tmp_path: Path) -> None:
    """Its parts could be repositories of the hub, which is not asked."""
    (tmp_path / "a,b c.safetensors").touch()
    sweep = f"model=compact,{tmp_path / 'a,b c.safetensors'},owner/name"
    with pytest.raises(OptionError, match=r"the model '.*a,b c\.safetensors', since its name has a comma"):
        variants_of(film, {"device": "cpu"}, [sweep])
    with pytest.raises(ModelError, match=r"no file z\.safetensors"):
        variants_of(film, {"device": "cpu"}, ["model=owner/y,z.safetensors"])
