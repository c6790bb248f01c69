"""The page in a real browser: playing at the moment, keys, pictures, narrow screens, dark colours."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import MARKS, assert_readable, running_browser
from tests.support.clip import tiny_clip
from tests.support.indexes import unit_rows
from tests.support.models import write_model
from tests.support.videos import drawn_number, make_video, numbered_frame
from tests.support.web import running_server
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.search.search import open_index
from vopcli.weights.reader import read_weights

FPS, LENGTH = 25, 20
START, END = 12.0, 15.0  # of the moment that matches "a dog"
pytestmark = MARKS


def write_films(folder: Path) -> Path:
    """Write two films of twenty seconds, and an index by which one matches "a dog" from 12 to 15 s."""
    weights = write_model(folder / "tiny.safetensors")
    fingerprint = read_weights(weights).fingerprint()
    recipe = {"sampling": "uniform:20", "size": tiny_clip().image_resolution}
    create_index(folder / "idx.h5", IndexMeta(str(weights), fingerprint, recipe, tiny_clip().embed_dim))
    dog = open_index(folder / "idx.h5").encode(["a dog"])[0]
    names = ["film.mp4", "other.avi"]
    make_video(folder / names[0], num_frames=FPS * LENGTH, fps=str(FPS))
    codec = ("-c:v", "mpeg4", "-q:v", "2")  # which browsers do not play
    make_video(folder / names[1], num_frames=FPS * LENGTH, fps=str(FPS), codec=codec)
    times = np.arange(LENGTH) + 0.5
    new = []
    for name in names:
        status = (folder / name).stat()
        new.append(NewVideo(str(folder), name, status.st_size, status.st_mtime_ns, num_frames=LENGTH))
    with IndexWriter(folder / "idx.h5") as writer:
        writer.lay_out(new)
        for slot in range(2):
            frames = unit_rows(LENGTH, seed=slot)
            frames -= np.outer(frames @ dog, dog)  # nothing of a dog
            if slot == 0:
                frames[int(START) : int(END)] = dog
            frames /= np.linalg.norm(frames, axis=1, keepdims=True)
            mean = frames.mean(axis=0)
            mean /= np.linalg.norm(mean)
            writer.add([EncodedVideo(slot, mean, frames.astype(np.float16), times, LENGTH, float(LENGTH))])
    return folder / "idx.h5"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(write_films(tmp_path_factory.mktemp("films"))) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as started:
        yield started


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open a page in a new profile; messages of errors and violated policies fail the test."""
    contexts, problems = [], []

    def open_one(path: str = "/", *, width: int = 1000, **options: Any) -> Any:
        context = browser.new_context(base_url=address, viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.add_init_script(
            "addEventListener('playing', (e) => { window.began ??= e.target.currentTime; }, true);"
        )
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


def until(page: Any, condition: str) -> None:
    """Wait for a condition; the page's policy forbids the `eval` of Playwright's own function."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def test_results_come_while_typing_and_the_address_holds_the_query(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.keyboard.type("a dog")  # the field has the focus
    page.wait_for_selector(".card")
    assert page.locator("h2").all_inner_texts() == ["1 film.mp4", "2 other.avi"]
    assert "q=a+dog" in page.url
    page.fill("#q", "a cat")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=a+cat**")
    page.go_back()
    page.wait_for_url("**q=a+dog**")
    page.wait_for_selector(".card")
    assert page.input_value("#q") == "a dog"
    assert all(page.evaluate("[...document.images].filter(i => i.complete).map(i => i.naturalWidth > 0)"))


def test_a_click_plays_the_moment(open_page: Callable[..., Any]) -> None:
    page = open_page("/?q=a+dog")
    assert page.locator(".moment").first.inner_text().endswith("00:12.0-00:15.0")
    page.locator(".moment").first.click()
    until(page, "window.began !== undefined")
    assert page.evaluate("window.began") == pytest.approx(START, abs=0.3)
    until(page, "document.querySelector('video').paused")
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(END, abs=0.3)
    data = page.evaluate("""() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 128, height: 96 });
      const drawing = canvas.getContext("2d");
      drawing.drawImage(document.querySelector("video"), 0, 0);
      return JSON.stringify([...drawing.getImageData(0, 0, 128, 96).data]);
    }""")
    pixels = np.array(json.loads(data), np.uint8).reshape(96, 128, 4)[:, :, :3]
    assert drawn_number(pixels) == pytest.approx(END * FPS, abs=0.3 * FPS)


def test_a_frame_plays_from_its_time(open_page: Callable[..., Any]) -> None:
    page = open_page("/?q=a+dog")
    page.locator(".frame").first.click()
    until(page, "window.began !== undefined")
    wanted = float(page.locator(".frame").first.get_attribute("data-start"))
    assert page.evaluate("window.began") == pytest.approx(wanted, abs=0.3)


def test_a_file_that_the_browser_cannot_play_is_shown_as_a_clip(open_page: Callable[..., Any]) -> None:
    page = open_page("/?q=a+dog")
    page.locator(".moment").nth(1).click()
    until(page, "window.began !== undefined")
    assert page.evaluate("document.querySelector('video').currentSrc").startswith(f"{page.url[:20]}")
    assert "/clip/" in page.evaluate("document.querySelector('video').currentSrc")
    assert page.locator(".player .error").is_hidden()


def test_the_keyboard_is_enough(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card")
    until(page, "document.activeElement.id === 'results'")

    def focused() -> str:
        return page.evaluate(
            "document.activeElement.querySelector('h2')?.innerText ?? document.activeElement.id"
        )

    seen = []
    for key in "jjjk":
        page.keyboard.press(key)
        seen.append(focused())
    assert seen == ["1 film.mp4", "2 other.avi", "2 other.avi", "1 film.mp4"]
    page.keyboard.press("Enter")
    until(page, "window.began !== undefined")
    assert page.evaluate("window.began") == pytest.approx(START, abs=0.3)
    page.keyboard.press(" ")
    until(page, "document.querySelector('video').paused")
    page.keyboard.press(" ")
    until(page, "!document.querySelector('video').paused")
    page.keyboard.press("Escape")
    assert page.locator("video").count() == 0
    page.keyboard.press("/")
    assert focused() == "q"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("m")
    page.wait_for_url("**like=0.0.1**")
    page.wait_for_selector(".card")
    assert page.locator("h2").first.inner_text() == "1 film.mp4"


def test_a_dropped_picture_is_searched_for(open_page: Callable[..., Any]) -> None:
    page = open_page()
    out = io.BytesIO()
    Image.fromarray(numbered_frame(7, width=64, height=48)).save(out, "PNG")
    transfer = page.evaluate_handle(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "p.png", { type: "image/png" }));
          return transfer;
        }""",
        list(out.getvalue()),
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    assert page.locator("#drop").is_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_url("**picture=**", timeout=30_000)  # the model and torch are loaded
    page.wait_for_selector(".card")
    assert page.locator("#status").inner_text().startswith("2 videos like the picture")
    assert page.evaluate("document.querySelector('.part img').naturalWidth") == 64


@pytest.mark.parametrize("width", [400, 800, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(open_page: Callable[..., Any], width: int, scheme: str) -> None:
    page = open_page(width=width, color_scheme=scheme)
    for path in ("/", "/?q=a+dog&moments=1&minus=night", "/?q=a+dog&longer=999"):
        page.goto(path)
        assert_readable(page, width, scheme)


def test_a_narrow_screen_shows_three_larger_frames(open_page: Callable[..., Any]) -> None:
    page = open_page("/?q=a+dog", width=400)
    assert page.locator(".card").first.locator("img:visible").count() == 3
    assert page.locator(".card").first.locator(".best img").is_visible()
    assert page.locator(".frame").nth(1).bounding_box()["width"] > 95


def test_a_search_works_without_javascript(open_page: Callable[..., Any]) -> None:
    page = open_page(java_script_enabled=False)
    page.fill("#q", "a dog")
    page.click("#search > button")
    page.wait_for_url("**q=a+dog**")
    assert page.locator("h2").all_inner_texts() == ["1 film.mp4", "2 other.avi"]
    assert page.locator("button.copy:visible").count() == 0
