"""Pages in a real browser: Chromium without a window, if one is installed."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, _NAMES) if path), None)

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")

_FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --allow-file-access-from-files
--enable-logging=stderr"""

_LOOK = """
<body><script>
onload = () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, view = frame.contentWindow;
    const stack = page.querySelector(".stack"), look = {};
    const cut = () => view.getComputedStyle(stack.querySelector(".second")).clipPath;
    look.width = view.innerWidth;
    look.wide = page.documentElement.scrollWidth;
    look.title = page.querySelector("h1").innerText;
    look.headings = [...page.querySelectorAll("h2")].map(h => h.innerText);
    look.facts = [...page.querySelectorAll(".fact")].map(f => f.innerText);
    look.text = page.body.innerText;
    look.small = Math.min(99, ...[...page.querySelectorAll("svg text")].map(t => t.getBoundingClientRect().height));
    look.loaded = view.performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"));
    look.scripts = [...page.querySelectorAll("script")].length;
    look.pictures = [...page.querySelectorAll("img")].map(i => [i.alt, i.naturalWidth, i.complete]);
    if (stack && stack.querySelector(".second")) {
      const range = stack.querySelector("input");
      look.cuts = [cut()];
      for (const value of ["0", "80"]) {
        range.value = value;
        range.dispatchEvent(new view.Event("input"));
        look.cuts.push(cut());
      }
      const box = stack.getBoundingClientRect();
      frame.scrollIntoView();
      stack.scrollIntoView({block: "center"});
      const at = stack.getBoundingClientRect();
      look.touched = page.elementFromPoint(at.left + at.width / 2, at.top + at.height / 2)?.type ?? "";
      look.label = range.getAttribute("aria-label");
      const heights = [stack.clientHeight];
      stack.dispatchEvent(new view.Event("dblclick"));
      heights.push(stack.clientHeight);
      page.dispatchEvent(new view.KeyboardEvent("keydown", {key: "Escape"}));
      look.heights = [...heights, stack.clientHeight];
    }
    return look;
  });
  document.body.innerHTML = "<pre id=seen></pre>";
  document.getElementById("seen").textContent = "SEEN" + JSON.stringify(seen) + "DONE";
};
</script>
"""


def opened(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Opens a page and returns the process, which has printed what the page has become once all is loaded.

    The browser writes to the folder.
    """
    assert CHROMIUM is not None
    line = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    return subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)


def look(page: Path, folder: Path, widths: tuple[int, ...] = (360, 1400)) -> list[dict[str, Any]]:
    """Opens a page in frames of some widths in pixels and returns what is shown in each."""
    form = '<iframe src="{}" style="width:{}px;height:900px;border:0"></iframe>'
    outer = folder / "frames.html"
    outer.write_text(_LOOK + "".join(form.format(page.as_uri(), width) for width in widths))
    result = opened(outer, folder)
    found = re.search("SEEN(.*)DONE", result.stdout, re.DOTALL)
    assert found is not None, result.stdout[-2000:] + result.stderr[-2000:]
    assert "CONSOLE" not in result.stderr, result.stderr
    seen: list[dict[str, Any]] = json.loads(html.unescape(found[1]).replace("\N{NO-BREAK SPACE}", " "))
    return seen
