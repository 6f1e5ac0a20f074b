"""Every page at every width, in all colour schemes and languages: axe, reflow, targets, names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.every_page import settle
from tests.browser.pages import TIMEOUT_MS, start_demo

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
PAINTED = (
    "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
)
# A pseudo-locale: right-to-left letters, and sentences that are 40 % longer.
RIGHT_TO_LEFT = """() => {
  const letters = "אבגדהוזחטיכלמנסעפצקרשתםןףךץ";
  const turned = (text) => text.replace(/[a-z]/gi, (letter) => letters[letter.toLowerCase().charCodeAt(0) - 97]);
  document.documentElement.dir = "rtl";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const text = node.textContent.trim();
    if (!text || node.parentElement.closest("script, style, textarea, svg, time, code, pre, .mono")) continue;
    const more = text.includes(" ") ? ` ${text.slice(0, Math.ceil(text.length * 0.4))}` : "";
    node.textContent = node.textContent.replace(text, turned(text + more));
  }
}"""
# ``preload`` fetches every stylesheet again, for a rule that is not among these.
AUDIT = """async (rules) => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await axe.run(document, {
    runOnly: rules ? {type: "rule", values: rules} : {type: "tag", values: tags},
    preload: {assets: ["media"]},
    resultTypes: ["violations"],
  });
  return found.violations.flatMap((each) =>
    each.nodes.map((node) => `${each.id}: ${node.target.join(" ")} ${node.failureSummary.split("\\n")[1] ?? ""}`));
}"""
# What colours and sizes can change on a page whose markup passed all rules of axe.
COLOURS = ["color-contrast", "link-in-text-block"]
SIZES = [*COLOURS, "target-size", "scrollable-region-focusable"]
SIDEWAYS = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > width + 1 || each.getBoundingClientRect().left < -1)
    .map((each) => `sideways: ${each.tagName}.${each.className}`).slice(0, 5);
}"""
# The target of a field is its label as well, that of a row's link the whole row. A link in
# a line of text is as high as the line (WCAG 2.5.8 and 2.5.5 except it).
TARGETS = """(least) => {
  const shown = (each) => each.checkVisibility({opacityProperty: true, visibilityProperty: true}) && each.getClientRects().length;
  const small = [];
  for (const each of document.querySelectorAll("a, button, summary, select, textarea, input:not([type=hidden])")) {
    if (!shown(each) || each.closest(".visually-hidden, .skip")) continue;
    const style = getComputedStyle(each);
    const own = each.getBoundingClientRect();
    let [width, height] = [own.width, own.height];
    if (each.matches(".row__link")) continue;
    const label = each.labels?.[0];
    if (label && label.contains(each)) {
      const box = label.getBoundingClientRect();
      [width, height] = [Math.max(width, box.width), Math.max(height, box.height)];
    }
    const inline = each.tagName === "A" && style.display === "inline";
    if (inline && each.parentElement.textContent.trim() !== each.textContent.trim()) continue;
    if (width < least - 0.5 || height < least - 0.5)
      small.push(`small target ${Math.round(width)}x${Math.round(height)}: ${each.outerHTML.slice(0, 110)}`);
  }
  return small;
}"""
# Words of a bar of links that run into the next link.
OVERLAPS = """() => {
  const words = (each) => { const range = document.createRange(); range.selectNodeContents(each); return range.getBoundingClientRect(); };
  const found = [];
  for (const bar of document.querySelectorAll(".tabs, .rail nav ul")) {
    const links = [...bar.querySelectorAll("a")].filter((each) => each.checkVisibility());
    for (const link of links) {
      const [text, box] = [words(link), link.getBoundingClientRect()];
      if (text.left < box.left - 1 || text.right > box.right + 1)
        found.push(`words outside their link: ${link.textContent.trim()}`);
    }
  }
  return found;
}"""
NAMES = """() => [...document.querySelectorAll("a, button")]
  .filter((each) => each.checkVisibility() && !(each.ariaLabel || each.textContent.trim()))
  .map((each) => `no name: ${each.outerHTML.slice(0, 110)}`)"""


@pytest.fixture(scope="module")
def every_page(system, chromium):
    """The addresses of all pages, and the cookies of a person who has something on each."""
    context = chromium.new_context(base_url=system.base_url)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    start_demo(page)
    paths = settle(system, page)
    cookies = context.cookies()
    context.close()
    return paths, cookies


@pytest.fixture
def person(system, window) -> Page:
    page = window(base_url=system.base_url)
    start_demo(page)
    return page


class Transfers:
    """Bytes that each page transfers with an empty cache."""

    def __init__(self, devtools: CDPSession) -> None:
        self.bytes: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        devtools.on("Network.responseReceived", self._begun)
        devtools.on("Network.loadingFinished", self._finished)
        devtools.send("Network.enable")
        devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})

    def _begun(self, event: dict[str, Any]) -> None:
        self._kinds[event["requestId"]] = event["type"]

    def _finished(self, event: dict[str, Any]) -> None:
        kind = self._kinds.get(event["requestId"], "Other")
        size = round(event["encodedDataLength"])
        self.bytes[kind] = self.bytes.get(kind, 0) + size

    def faults(self) -> list[str]:
        """Of the page since the last call."""
        found, self.bytes = self.bytes, {}
        whole, scripts = sum(found.values()), found.get("Script", 0)
        if whole <= MAX_PAGE_BYTES and scripts <= MAX_SCRIPT_BYTES:
            return []
        return [f"heavy: {whole} bytes, of scripts {scripts}: {found}"]


def resize(page: Page, devtools: CDPSession, width: int) -> int:
    """Give the page a width, with fingers or a mouse; the least size of its targets."""
    is_touch = width < 640
    devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": is_touch})
    page.set_viewport_size({"width": width, "height": 860})
    page.evaluate(PAINTED)
    return 44 if is_touch else 24


def audit(page: Page, *, least: int) -> list[str]:
    faults = page.evaluate(SIDEWAYS) + page.evaluate(OVERLAPS)
    return faults + page.evaluate(TARGETS, least) + page.evaluate(NAMES)


# 640 is what 1280 pixels show at a zoom of 200 %, and 320 at 400 %. All rules run once in
# each layout of the stylesheets: on a phone, with the narrow rail, with the wide one.
WIDTHS = {1280: None, 768: None, 640: SIZES, 390: None, 320: SIZES}
# A colour scheme changes no size and no markup, so one width of each layout is enough for
# axe; the rest runs at all of them.
COLOURED = {1280: COLOURS, 768: COLOURS, 390: COLOURS, 320: ()}
LOOKS = {
    "light": ({"color_scheme": "light"}, WIDTHS),
    "dark": ({"color_scheme": "dark"}, COLOURED),
    "forced": ({"color_scheme": "light", "forced_colors": "active"}, COLOURED),
    "right-to-left": ({"forced_colors": "none"}, {320: None}),
}
# Transferred by a first visit, compressed: of all, and of scripts (docs/pages.md).
MAX_PAGE_BYTES = 120_000
MAX_SCRIPT_BYTES = 60_000


def report(faults: dict[str, list[str]]) -> str:
    return "\n".join(
        f"{name}\n  " + "\n  ".join(found) for name, found in faults.items() if found
    )


def test_every_page_passes_at_every_width_in_every_colour(system, window, every_page):
    """Each page is loaded once, then resized and coloured."""
    paths, cookies = every_page
    page = window(base_url=system.base_url)
    page.context.add_cookies(cookies)
    devtools = page.context.new_cdp_session(page)
    transfers = Transfers(devtools)
    faults: dict[str, list[str]] = {}
    for path in paths:
        short = path.removeprefix(system.base_url)
        page.emulate_media(
            # Colours would be measured while they change from one look to the next.
            color_scheme="light",
            forced_colors="none",
            reduced_motion="reduce",
        )
        page.goto(path)
        page.evaluate(AXE)
        for look, (media, widths) in LOOKS.items():
            page.emulate_media(**media)
            if look == "right-to-left":
                page.evaluate(RIGHT_TO_LEFT)
            for width, rules in widths.items():
                found = audit(page, least=resize(page, devtools, width))
                if rules is None or rules:
                    found += page.evaluate(AUDIT, rules)
                faults[f"{look} {width} {short}"] = found
        page.wait_for_load_state("networkidle")
        faults[f"bytes {short}"] = transfers.faults()
    assert not any(faults.values()), report(faults)


def test_every_page_passes_in_german(system, window, every_page):
    paths, cookies = every_page
    page = window(base_url=system.base_url, locale="de-DE")
    page.context.add_cookies(cookies)
    devtools = page.context.new_cdp_session(page)
    faults: dict[str, list[str]] = {}
    for path in paths:
        page.goto(path)
        page.evaluate(AXE)
        for width, rules in {1280: None, 320: SIZES}.items():
            found = audit(page, least=resize(page, devtools, width))
            found += page.evaluate(AUDIT, rules)
            faults[f"{width} {path}"] = found
        is_ours = page.locator("meta[name=htmx-config]").count() == 1
        if is_ours and page.locator("html[lang=de]").count() == 0:
            faults[f"language {path}"] = ["not in German"]
    assert not any(faults.values()), report(faults)


def test_the_middle_rail_is_narrow_and_keeps_its_labels(person):
    for width in (640, 800, 1023):
        person.set_viewport_size({"width": width, "height": 860})
        person.goto("/inbox")
        assert person.locator(".rail").bounding_box()["width"] == 64
        for link in person.locator(".rail nav a").all():
            assert link.inner_text().strip()
        assert person.evaluate(OVERLAPS) == []
    person.set_viewport_size({"width": 1024, "height": 860})
    assert person.locator(".rail").bounding_box()["width"] == 232


def test_switches_differ_in_forced_colours(system, window, person):
    page = window(base_url=system.base_url, forced_colors="active")
    page.context.add_cookies(person.context.cookies())
    page.goto("/discover")
    page.get_by_role("link", name="Choose what Acme DAO may send").click()
    first, second = page.locator(".switch").all()[:2]
    second.uncheck()
    page.wait_for_timeout(300)  # the transition of the knob
    assert first.screenshot() != second.screenshot()
    background = "each => getComputedStyle(each).backgroundColor"
    knob = "each => getComputedStyle(each, '::after').backgroundColor"
    assert first.evaluate(background) != second.evaluate(background)
    for switch in (first, second):
        assert switch.evaluate(background) != switch.evaluate(knob)
