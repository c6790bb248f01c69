"""Open pages in Chromium, and compute the contrast of their text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IS_REQUIRED = "browser" in os.environ.get("VOP_REQUIRE", "").split(",")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM and not IS_REQUIRED, reason="no Chromium is installed"),
]
# WCAG 2.1: the contrast of each visible text with the colour behind it
CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.7) return colour;
    }
    return rgb(getComputedStyle(document.body).backgroundColor);
  };
  const texts = [...document.querySelectorAll("body *")].filter((e) =>
    e.checkVisibility({ opacityProperty: true })
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
    && e.getClientRects().length);
  return texts.map((e) => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return [e.className || e.tagName, (a + 0.05) / (b + 0.05)];
  });
}"""


@contextmanager
def running_browser() -> Iterator[Any]:
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "VOP_REQUIRE asks for a browser: install Chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def assert_readable(page: Any, width: int, scheme: str) -> None:
    """Check that a page fits, has enough contrast, and follows the colour scheme."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 10
    assert [(name, ratio) for name, ratio in contrasts if ratio < 4.5] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(int(number) for number in background[4:-1].split(",")) / 3
    assert (level > 200) is (scheme == "light")
