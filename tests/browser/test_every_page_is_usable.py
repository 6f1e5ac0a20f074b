"""Every page at every width, in all colour schemes and languages: axe, reflow, targets, names."""

from __future__ import annotations

import os
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    TIMEOUT_MS,
    create_project,
    open_live,
    send,
    start_demo,
    subscribe,
)

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
WIDTHS = (320, 639, 800, 1280)
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
# A directory for screenshots of all pages, to look at them.
PICTURES = os.environ.get("NOTIFYWEB_TEST_PICTURES")

AUDIT = """async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await axe.run(document, {runOnly: {type: "tag", values: tags}});
  return found.violations.flatMap((each) =>
    each.nodes.map((node) => `${each.id}: ${node.target.join(" ")} ${node.failureSummary.split("\\n")[1] ?? ""}`));
}"""
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


@pytest.fixture
def person(system, window) -> Page:
    page = window(base_url=system.base_url)
    start_demo(page)
    return page


def settled(page: Page) -> list[str]:
    """The addresses of all pages, once each has something to show."""
    subscribe(page)
    expect(page.locator('.step[data-state="done"]')).to_have_count(18)
    attempt = page.url
    title = "A title of sixty-four signs, as long as dapps may write them xx"
    send(page, title, "A text " * 30)
    sent = page.url
    open_live(page, "/inbox?tab=all")
    expect(page.locator("#messages li.message")).to_have_count(1)
    message = page.locator("#messages a.row__link").get_attribute("href")
    page.goto("/subscriptions")
    topic = page.locator("#subscriptions a.row__link").get_attribute("href")
    slug = create_project(page, "Lumen")
    keys = page.url
    page.goto("/console/project/new")
    page.get_by_label("Name").first.fill("Draft")
    page.get_by_role("button", name="Create the project").click()
    page.wait_for_url("**/setup/domain")
    # Nothing listens there, so the page has a report.
    page.get_by_label("On my domain").check()
    page.locator("#id_url").fill("http://127.0.0.1:9")
    page.get_by_role("button", name="Save and go on").click()
    expect(page.get_by_role("heading", name="The two files")).to_be_visible()
    steps = ("texts", "domain", "types", "keys")
    revoke = (
        page.get_by_role("button", name="Revoke")
        .locator("xpath=..")
        .get_attribute("action")
    )
    console = [
        f"/console/{slug}{part}"
        for part in (
            "",
            "/domain",
            "/send",
            "/sent",
            "/lists",
            "/templates/new",
            "/welcome",
            "/types",
            "/subscribers",
            "/webhooks",
            "/settings",
            "/close",
        )
    ]
    fixed = [
        "/", "/signin", "/signin/again?next=/settings", "/signin/phone", "/devices/link", "/devices/key", "/inbox", "/inbox?tab=archived",
        "/inbox?tab=all", "/subscriptions", "/discover", "/devices", "/devices/others/revoke",
        "/sync", "/settings", "/console", "/console/project/new", "/console/acme-dao",
        "/demo", "/nowhere", "/dapps/acme-dao",
    ]  # fmt: skip
    found = [
        attempt,
        sent,
        message,
        topic,
        f"{topic}?pressed=yes&type=alerts&from=form",
        keys,
        revoke,
    ]
    wizard = ["/console/draft/domain"]
    # Each step is opened by the one before.
    wizard += [f"/console/draft/setup/{step}" for step in steps]
    return [*fixed, *console, *wizard, *found]


def audit(page: Page, path: str, *, least: int, is_rtl: bool = False) -> list[str]:
    page.goto(path)
    page.evaluate("document.fonts.ready")
    page.evaluate(AXE)
    if is_rtl:
        page.evaluate(RIGHT_TO_LEFT)
    faults = page.evaluate(AUDIT) + page.evaluate(SIDEWAYS) + page.evaluate(OVERLAPS)
    return faults + page.evaluate(TARGETS, least) + page.evaluate(NAMES)


LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"color_scheme": "light", "forced_colors": "active"},
    "german": {"locale": "de-DE"},
    "right-to-left": {},
}
WIDTHS_OF = {"light": WIDTHS, "german": (320, 1280), "right-to-left": (320,)}


def test_every_page_passes_at_every_width_in_every_colour_and_language(
    system, window, person
):
    paths = settled(person)
    cookies = person.context.cookies()
    faults: dict[str, list[str]] = {}
    for look, options in LOOKS.items():
        for width in WIDTHS_OF.get(look, (320, 800)):
            is_touch = width < 640
            page = window(
                base_url=system.base_url,
                has_touch=is_touch,
                is_mobile=is_touch,
                **options,
            )
            page.context.add_cookies(cookies)
            page.set_viewport_size({"width": width, "height": 860})
            for path in paths:
                name = f"{look} {width} {path.removeprefix(system.base_url)}"
                found = audit(
                    page,
                    path,
                    least=44 if is_touch else 24,
                    is_rtl=look == "right-to-left",
                )
                if look == "german" and page.locator("html[lang=de]").count() == 0:
                    found.append("not in German")
                if found:
                    faults[name] = found
                if PICTURES:
                    safe = "".join(mark if mark.isalnum() else "-" for mark in name)[
                        :90
                    ]
                    page.screenshot(path=f"{PICTURES}/{safe}.png", full_page=True)
            page.context.close()
    assert not faults, "\n".join(
        f"{name}\n  " + "\n  ".join(found) for name, found in faults.items()
    )


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
