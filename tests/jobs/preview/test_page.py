"""The page loads nothing else, survives any file name, and compares any two pictures."""

import json
import re
import shlex
import shutil
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from vidx4.errors import OutputError
from vidx4.jobs.preview.page import Moment, Page, PageSetting, write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect
    from playwright.sync_api import Page as Tab

    Open = Callable[..., Tab]

WIDTH, HEIGHT = 320, 240
ODD_NAME = "</script><b>'семья' \"家族\"\n<!-- & \u2028 \udcff.mkv"
COLORS = [[(200, 30, 30), (30, 160, 30), (30, 30, 200)], [(160, 160, 20), (20, 160, 160), (160, 20, 160)]]
"""Colours of the pictures: one row for each moment, bicubic first."""


def flat_page(title: str = "film.mp4") -> Page:
    """Return a page of two moments and two settings; every picture has one colour."""
    settings = [
        PageSetting(
            f"steps {steps}",
            {"noise-level": "20", "steps": str(steps)},
            seconds_per_frame=0.3 * steps,
            seconds_for_whole=30_000.0 * steps,
            memory=10**9 * steps,
            command=f"vidx4 upscale {shlex.quote(title)} --noise-level 20 --steps {steps}",
        )
        for steps in (2, 4)
    ]
    pictures = [[Image.new("RGB", (WIDTH, HEIGHT), color) for color in row] for row in COLORS]
    moments = [Moment(3723.4 * index, row[0], tuple(row[1:])) for index, row in enumerate(pictures)]
    return Page(title, [("source", "80x60, 25 fps"), ("name", title)], settings, moments)


def only_one(page: Page) -> Page:
    """Return a page of the first moment and the first setting."""
    moment = replace(page.moments[0], after=page.moments[0].after[:1])
    return replace(page, settings=page.settings[:1], moments=[moment])


class ContentParser(HTMLParser):
    """Collects the text of the element that holds the page's content, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = ("id", "page") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.text += data if self._inside else ""


def content(path: Path) -> Any:
    return json.loads(ContentParser(path.read_text("utf-8")).text)


def decoded(uri: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(uri.partition("base64,")[2]))).convert("RGB")


# Without a browser.


def test_the_page_holds_what_it_was_given(tmp_path: Path) -> None:
    page = flat_page(ODD_NAME)
    write_page(tmp_path / "page.html", page)
    held = content(tmp_path / "page.html")
    assert held["title"] == ODD_NAME
    assert [tuple(fact) for fact in held["facts"]] == page.facts
    assert [PageSetting(**setting) for setting in held["settings"]] == page.settings
    assert [moment["seconds"] for moment in held["moments"]] == [0, 3723.4]


def test_no_name_can_break_out_of_its_element(tmp_path: Path) -> None:
    for name in ("plain.mp4", "odd.mp4"):
        write_page(tmp_path / name, flat_page(ODD_NAME if name == "odd.mp4" else "plain"))
    plain, odd = (
        ContentParser((tmp_path / name).read_text("utf-8")).tags for name in ("plain.mp4", "odd.mp4")
    )
    assert plain == odd
    assert plain[-2:] == ["script", "script"]


def test_the_page_refers_to_nothing_outside(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", flat_page())
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"<link|@import|url\(|\bsrc=[\"'](?!data:)", text)


def test_pictures_stay_near_what_they_were(tmp_path: Path) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wave = (127.5 + 100 * np.sin(x / 3) * np.sin(y / 5)).astype(np.uint8)
    before = Image.fromarray(np.stack([wave, 20 + wave // 5 * 4, 60 + wave // 2], axis=-1))
    after = Image.fromarray(np.stack([wave] * 3, axis=-1))
    page = replace(only_one(flat_page()), moments=[Moment(0.0, before, (after,))])
    write_page(tmp_path / "page.html", page)
    (moment,) = content(tmp_path / "page.html")["moments"]
    assert (moment["width"], moment["height"]) == (WIDTH, HEIGHT)
    for uri, expected in zip(moment["pictures"], (before, after), strict=True):
        picture = decoded(uri)
        assert picture.size == expected.size
        assert np.abs(np.asarray(picture, float) - np.asarray(expected, float)).mean() < 3


def test_a_picture_too_large_for_webp_is_kept_whole(tmp_path: Path) -> None:
    large = Image.new("RGB", (16384, 8), "green")
    write_page(tmp_path / "page.html", replace(only_one(flat_page()), moments=[Moment(0.0, large, (large,))]))
    assert decoded(content(tmp_path / "page.html")["moments"][0]["pictures"][1]).size == large.size


def test_an_old_page_is_replaced_and_nothing_else_left(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_page(tmp_path / "page.html", flat_page(name))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert content(tmp_path / "page.html")["title"] == "second"


def test_a_page_that_cannot_be_written_is_an_error_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"page\.html"):
        write_page(tmp_path / "file" / "page.html", flat_page())


def test_pictures_that_do_not_belong_together_are_refused() -> None:
    page, small = flat_page(), Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="different sizes"):
        Moment(0.0, small, (page.moments[0].before,))
    with pytest.raises(ValueError, match="one picture for each setting"):
        replace(page, settings=page.settings[:1])
    with pytest.raises(ValueError, match="a setting and a moment"):
        replace(page, moments=[])


# With a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Return the system's Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(found, None)
    if path is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def wrong() -> list[str]:
    """Return the errors of pages so far; a test fails if it leaves any."""
    return []


def new_tab(browser: "Browser", wrong: list[str], width: int = 1440, **options: Any) -> "Tab":
    """Return a tab that records errors, and requests to anything but the page's file."""
    tab = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
    tab.set_default_timeout(10_000)
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: None if is_local(request.url) else wrong.append(request.url))
    return tab


def assert_nothing(wrong: list[str]) -> None:
    """Make sure that nothing went wrong; clear the list, so that the next test starts with none."""
    found = wrong.copy()
    wrong.clear()
    assert not found


def is_local(url: str) -> bool:
    return url.startswith(("file:", "data:"))


@pytest.fixture
def open_page(browser: "Browser", wrong: list[str], tmp_path: Path) -> Iterator["Open"]:
    """Return a function that opens a page from its file in a new tab, after a script if there is one."""
    tabs = []

    def open_page(page: Page, width: int = 1440, script: str = "", **options: Any) -> "Tab":
        write_page(tmp_path / "page.html", page)
        tabs.append(tab := new_tab(browser, wrong, width, **options))
        tab.add_init_script(script)
        tab.goto((tmp_path / "page.html").as_uri())
        return tab

    yield open_page
    for tab in tabs:
        tab.context.close()
    assert_nothing(wrong)


@pytest.fixture(scope="module")
def used_tab(browser: "Browser", wrong: list[str], tmp_path_factory: pytest.TempPathFactory) -> "Tab":
    """Return a tab with a page of two moments and two settings."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, flat_page())
    tab = new_tab(browser, wrong)
    tab.goto(path.as_uri())
    return tab


@pytest.fixture
def tab(used_tab: "Tab", wrong: list[str]) -> Iterator["Tab"]:
    """Return a page of two moments and two settings, just opened and shown."""
    used_tab.mouse.move(0, 0)
    used_tab.reload()
    await_shown(used_tab, 0, 0, 1)
    yield used_tab
    assert_nothing(wrong)


def wait_until(tab: "Tab", condition: str) -> None:
    """Wait for a condition in JavaScript.

    `wait_for_function` leaves that to the page, whose content security policy lets it evaluate no strings.
    """
    stop = time.monotonic() + 30
    while not tab.evaluate(condition):
        assert time.monotonic() < stop, condition
        tab.wait_for_timeout(50)


def await_shown(tab: "Tab", moment: int, left: int, right: int) -> None:
    """Wait until these pictures are shown, and make sure that they are, by their colours."""
    tab.wait_for_selector(f"#stage[data-shown='{moment} {left} {right}']")
    colors = COLORS[moment][left], COLORS[moment][right]
    x = divider(tab)
    assert_colors(tab, {x - 20: colors[0], x + 20: colors[1]})


def assert_colors(tab: "Tab", colors: dict[float, tuple[int, int, int]]) -> None:
    """Check the colours halfway down the stage at some places, in pixels from its left."""
    stage = box(tab, "#stage")
    line = stage | {"y": stage["y"] + stage["height"] // 2, "height": 1}
    with Image.open(BytesIO(tab.screenshot(clip=line))) as shot:
        for x, color in colors.items():
            assert np.abs(np.asarray(shot.convert("RGB"), int)[0, int(x)] - color).max() < 8


def box(tab: "Tab", selector: str) -> "FloatRect":
    found = tab.locator(selector).bounding_box()
    assert found
    return found


DIVIDER = """() => {
  const [line, stage] = ["divider", "stage"].map((id) => document.getElementById(id).getBoundingClientRect());
  return line.x + line.width / 2 - stage.x;
}"""
"""Script that returns where the divider is, in pixels from the stage's left."""
IS_AT_REST = """() => {
  const seen = window.seen;
  window.seen = {top: scrollY, since: seen?.top === scrollY ? seen.since : performance.now()};
  return performance.now() - window.seen.since > 200;
}"""
"""Script that tells whether the page has stopped scrolling; it must be polled."""


def divider(tab: "Tab") -> float:
    """Return where the divider is, in pixels from the stage's left."""
    at: float = tab.evaluate(DIVIDER)
    return at


def drag(tab: "Tab", start: tuple[float, float], across: float, down: float = 0) -> None:
    """Drag with the mouse from a place in the stage."""
    stage = box(tab, "#stage")
    x, y = stage["x"] + start[0], stage["y"] + start[1]
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + across / 2, y + down / 2)
    tab.mouse.move(x + across, y + down)
    tab.mouse.up()


def test_every_picture_loads_from_the_file_alone(tab: "Tab") -> None:
    widths = tab.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) == 4  # two thumbnails, two sides
    assert min(widths) > 0


def test_the_divider_is_dragged_by_its_line_and_by_the_picture(tab: "Tab") -> None:
    x = divider(tab)
    drag(tab, (x + 5, 60), -200)
    assert divider(tab) == pytest.approx(x - 200, abs=1)
    assert_colors(tab, {x - 190: COLORS[0][1], x - 210: COLORS[0][0]})
    drag(tab, (x - 100, 60), 250)
    assert divider(tab) == pytest.approx(x + 150, abs=1)
    drag(tab, (x, 60), 3000)
    assert_colors(tab, {x - 390: COLORS[0][0], x + 390: COLORS[0][0]})


def test_the_divider_is_a_slider_for_the_keyboard(tab: "Tab") -> None:
    x, slider = divider(tab), tab.get_by_role("slider")
    tab.keyboard.press("ArrowLeft")
    assert divider(tab) < x
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert divider(tab) > x
    slider.focus()
    for key, value in {"Home": "0", "PageUp": "10", "End": "100", "PageDown": "90"}.items():
        slider.press(key)
        assert slider.get_attribute("aria-valuenow") == value
    assert slider.get_attribute("aria-valuetext") == "90 % bicubic, the rest steps 2"


def test_digits_choose_the_right_side(tab: "Tab") -> None:
    for key, right in {"2": 2, "0": 0, "1": 1, "9": 1}.items():
        tab.keyboard.press(key)
        await_shown(tab, 0, 0, right)


def test_the_right_side_flips_to_before_while_b_is_held(tab: "Tab") -> None:
    tab.keyboard.down("b")
    await_shown(tab, 0, 0, 0)
    tab.keyboard.up("b")
    await_shown(tab, 0, 0, 1)
    tab.locator("#flip").click()
    await_shown(tab, 0, 0, 0)
    tab.keyboard.press("2")
    await_shown(tab, 0, 0, 2)


def test_keys_and_thumbnails_choose_the_moment(tab: "Tab") -> None:
    for key, moment in {"ArrowDown": 1, "ArrowUp": 0, "n": 1, "p": 0}.items():
        tab.keyboard.press(key)
        await_shown(tab, moment, 0, 1)
    tab.get_by_role("button", name="1:02:03").click()
    await_shown(tab, 1, 0, 1)
    assert tab.locator("#moments [aria-current=true]").inner_text().strip() == "1:02:03"


def test_any_two_pictures_can_be_compared(tab: "Tab") -> None:
    tab.locator("#left-choice").select_option("2")
    await_shown(tab, 0, 2, 1)
    tab.locator("#right-choice").select_option("0")
    await_shown(tab, 0, 2, 0)
    assert tab.locator("#left-name").inner_text() == "steps 4"
    assert tab.locator("#right-name").inner_text() == "bicubic"


def test_a_row_of_the_table_chooses_its_setting(tab: "Tab") -> None:
    row = tab.locator("#settings tr").nth(1)
    row.locator(".whole").click()
    await_shown(tab, 0, 0, 2)
    assert tab.locator("#settings [aria-current=true]").count() == 1
    assert row.get_attribute("aria-current") == "true"
    for text in ("steps 4", "noise-level 20", "1.20 s", "1 day 9:20:00"):
        assert text in row.inner_text()
    assert "1 day 9:20:00" in tab.locator("#caption").inner_text()


def test_zoom_shows_pixels_and_keeps_its_place(tab: "Tab") -> None:
    widths, rendering = [], []
    for _ in range(4):
        widths.append(round(box(tab, "#left")["width"]))
        rendering.append(tab.locator("#left img").evaluate("image => getComputedStyle(image).imageRendering"))
        tab.keyboard.press("z")
    assert widths[1:] == [WIDTH, 2 * WIDTH, 4 * WIDTH]
    assert rendering == ["auto", "auto", "pixelated", "pixelated"]
    assert tab.locator("#zoom [aria-pressed=true]").inner_text() == "Fit"


def test_the_place_is_kept_from_one_picture_to_the_next(tab: "Tab") -> None:
    tab.get_by_role("button", name="4x").click()
    start = box(tab, "#right")
    drag(tab, (100, 100), -15, 80)
    place = box(tab, "#right")
    assert (place["x"] - start["x"], place["y"] - start["y"]) == pytest.approx((-15, 80), abs=1)
    tab.keyboard.press("2")
    tab.keyboard.press("n")
    await_shown(tab, 1, 0, 2)
    assert box(tab, "#right") == box(tab, "#left") == place
    for _ in range(4):
        tab.keyboard.press("z")
    assert box(tab, "#right") == place


def test_the_divider_moves_alone_when_zoomed(tab: "Tab") -> None:
    tab.get_by_role("button", name="4x").click()
    place, x = box(tab, "#right"), divider(tab)
    drag(tab, (x, 60), 120)
    assert divider(tab) == pytest.approx(x + 120, abs=1)
    assert box(tab, "#right") == place
    tab.keyboard.press("Shift+ArrowUp")
    assert box(tab, "#right")["y"] > place["y"]


def test_a_double_click_zooms_in_where_it_points(tab: "Tab") -> None:
    tab.get_by_role("button", name="2x").click()
    stage, before = box(tab, "#stage"), box(tab, "#left")
    x, y = stage["width"] / 2 - 100, stage["height"] / 2 - 50
    tab.locator("#stage").dblclick(position={"x": x, "y": y})
    after, at = box(tab, "#left"), stage["y"] + y
    assert after["width"] == 2 * before["width"]
    assert (at - after["y"]) / after["height"] == pytest.approx(
        (at - before["y"]) / before["height"], abs=0.01
    )


def test_help_opens_and_closes(tab: "Tab") -> None:
    tab.keyboard.press("?")
    assert tab.get_by_role("dialog").is_visible()
    tab.keyboard.press("2")
    tab.keyboard.press("Escape")
    assert not tab.get_by_role("dialog").is_visible()
    await_shown(tab, 0, 0, 1)


@pytest.mark.parametrize("script", ["", "Object.defineProperty(navigator, 'clipboard', {value: undefined})"])
def test_the_command_is_copied_verbatim(open_page: "Open", script: str) -> None:
    page = flat_page(f"it's a film\nin two  lines -- {len(script)}.mp4")
    tab = open_page(page, script=script, permissions=["clipboard-read", "clipboard-write"])
    row = tab.locator("#settings tr").nth(1)
    row.get_by_role("button", name="Copy").click()
    row.get_by_role("button", name="Copied").wait_for()
    tab.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
    tab.locator("#paste").press("Control+v")
    assert tab.locator("#paste").input_value() == page.settings[1].command
    await_shown(tab, 0, 0, 1)


@pytest.mark.parametrize("width", [375, 820, 1025, 1440])
def test_the_page_is_never_wider_than_the_window(open_page: "Open", width: int) -> None:
    name = "a_name_without_a_break" * 10
    tab = open_page(flat_page(name), width)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert box(tab, "#stage")["width"] > 0.8 * (width - 34)
    for part in ("#left-choice", "#right-choice", "#flip", "#settings tr:last-child .copy"):
        assert box(tab, part)["x"] + box(tab, part)["width"] <= width


def test_a_finger_moves_the_divider_sideways_and_the_page_vertically(open_page: "Open") -> None:
    tab = open_page(flat_page(), 375, has_touch=True, is_mobile=True)
    await_shown(tab, 0, 0, 1)
    x = divider(tab)
    swipe(tab, (x + 40, 200), across=-2, down=-30)
    assert divider(tab) == x
    wait_until(tab, "scrollY > 50")
    wait_until(tab, IS_AT_REST)  # while the page moves, a finger holds it
    swipe(tab, (x + 40, 200), across=15, down=2)
    wait_until(tab, f"Math.abs(({DIVIDER})() - {x + 100}) <= 1")


def swipe(tab: "Tab", start: tuple[float, float], across: float, down: float) -> None:
    """Swipe with a finger from a place in the stage, in four steps."""
    touch, stage = tab.context.new_cdp_session(tab), box(tab, "#stage")
    for step in range(5):
        at = {"x": stage["x"] + start[0] + step * across, "y": stage["y"] + start[1] + step * down}
        kind = "touchMove" if step else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_one_setting_and_one_moment_need_no_choosers(open_page: "Open") -> None:
    tab = open_page(only_one(flat_page()))
    await_shown(tab, 0, 0, 1)
    for part in ("#left-choice", "#right-choice", "#moments"):
        assert not tab.locator(part).is_visible()
    assert tab.locator("#settings tr").count() == 1
    assert "↑" not in tab.locator("#keys").inner_text()


def test_an_odd_name_is_shown_verbatim(open_page: "Open") -> None:
    tab = open_page(flat_page(ODD_NAME))
    await_shown(tab, 0, 0, 1)
    assert tab.locator("#title").text_content() == ODD_NAME
    assert tab.locator("#caption b, b b, h1 *").count() == 1  # the caption's own


def test_moments_of_one_second_are_told_apart(open_page: "Open") -> None:
    page = flat_page()
    moments = [replace(page.moments[0], seconds=seconds) for seconds in (0.29, 0.2, 1.0)]
    tab = open_page(replace(page, moments=moments))
    assert tab.locator("#moments time").all_inner_texts() == ["0:00:00.29", "0:00:00.20", "0:00:01.00"]


def test_without_scripts_the_page_says_what_it_needs(open_page: "Open") -> None:
    tab = open_page(flat_page(), java_script_enabled=False)
    assert "JavaScript" in tab.locator("noscript").inner_text()
    assert not tab.locator("#main").is_visible()
