"""Does the page say what was added, to a parser, to a browser and to a keyboard?"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unet_resnet.inference import overlay
from unet_resnet.synthetic import pavement
from unet_resnet.images import write_png
from unet_resnet.measure.tables import Histogram
from unet_resnet.report.page import (
    PAGE, SIDE, Report, data_url, figures, link, thumbnails)

VOID = {"meta", "img", "input", "br", "link", "hr"}
HOSTILE = ['<script>alert("x")</script>.png', "a'b\"c & d.png", "two\nlines.png",
           "גשר \u202egnp.exe", "100% of #5?.png",
           "</table></style><!-- {{ about }} {% endfor %} {0}.png"]
WIDEST = "greatest width (px)"
ABOUT = {"command": "python infer.py 'a b' --report <x>", "threshold": 0.5}


class Page(HTMLParser):
    """What a parser makes of a page; fails where a tag is left open or closed wrongly."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []  # the tag around it, the text
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        assert len(dict(attributes)) == len(attributes), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str, **wanted: str) -> list[dict]:
        return [found for name, found in self.tags
                if name == tag and wanted.items() <= found.items()]

    def inside(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def drawn(index: int, size: int = 64) -> tuple[Tensor, Tensor]:
    photo, mask = pavement.render(index, size=size)
    return photo, mask.bool()


def fill(report: Report, count: int = 3, truth: bool = False) -> None:
    for index in range(count):
        photo, mask = drawn(index)
        report.add(f"photo_{index}.png", photo, mask, mask if truth else None,
                   (Path("a.png"), Path("b.png")), {})


def test_any_name_is_shown_and_linked(tmp_path):
    """Names as they are, through escaping; links lead from the page to the file."""
    page, folder = tmp_path / "out" / "page.html", tmp_path / "photos #1 100% ü"
    page.parent.mkdir()
    folder.mkdir()
    photo, mask = drawn(1)
    names = [name.replace("/", "_") for name in HOSTILE]
    report = Report(page)
    for name in names:
        write_png(folder / name, photo)
        report.add(name, photo, mask, None, (folder / name, page.parent / name), {name: 1})
    report.write(ABOUT | {"<i>": "</code>"}, {HOSTILE[5]: {HOSTILE[1]: 0.5}},
                 Histogram(["0 to 1"], [1], "<mm> &"),
                 [(Path(HOSTILE[0]), f"{HOSTILE[0]}: broken & <b>bad</b>")])
    html = Page(page)
    assert [row["data-value"] for row in html.all("th") if "data-value" in row] == names
    assert html.inside("bdi")[:len(names)] == names
    assert html.inside("small").count(str(folder)) == len(names)
    assert [tag["alt"] for tag in html.all("img")[:-1:2]] == [f"Photo: {name}" for name in names]
    assert len(html.all("script")) == 1 and not html.all("i") and not html.all("b")
    assert "broken & <b>bad</b>" in html.inside("code")
    assert "width (<mm> &)" in html.inside("th")
    links = [tag["href"] for tag in html.all("a", **{"class": "picture"})]
    for name, url, beside in zip(names, links[::2], links[1::2], strict=True):
        assert not set(url) & set(" #?\n\"'<>&")
        assert (page.parent / os.fsdecode(unquote_to_bytes(url))).samefile(folder / name)
        assert os.fsdecode(unquote_to_bytes(beside)) == name, "not relative to the page"


def test_a_name_that_is_no_text(tmp_path):
    page, name = tmp_path / "page.html", os.fsdecode(b"bad\xff.png")
    photo, mask = drawn(0)
    report = Report(page)
    report.add(name, photo, mask, None, (tmp_path / name, tmp_path / "b.png"), {})
    report.write({}, {}, None)
    assert Page(page).all("a", **{"class": "picture"})[0]["href"] == "bad%FF.png"
    assert "bad?.png" in Page(page).inside("bdi")


def test_link_leads_out_of_the_folder():
    assert link(Path("a/b c.png"), Path("out/deep")) == "../../a/b%20c.png"
    assert link(Path("http:x"), Path("")) == "http%3Ax"


def test_nothing_comes_from_elsewhere(tmp_path):
    """No address but data: and relative ones; style and script are those of the policy."""
    page = tmp_path / "page.html"
    report = Report(page)
    fill(report)
    report.write(ABOUT, {}, None)
    html, text = Page(page), page.read_text("utf-8")
    for tag, attributes in html.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            assert re.match(r"data:image/jpeg;base64,|#|[\w./-]+$", attributes.get(name, "#"))
        assert "style" not in attributes and not [name for name in attributes if name[:2] == "on"]
    assert not re.search(r"https?://|@import|url\(|fetch|XMLHttp|innerHTML|eval", text)
    policy = html.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for kind in ("style", "script"):
        content = re.search(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_values_are_those_added_and_computed(tmp_path):
    """Columns are the union of all labels; a photo without one gets a dash and sorts last."""
    page = tmp_path / "page.html"
    photo, truth = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(1, 4, 5, dtype=torch.bool)
    truth[0, 1] = True  # five pixels; four are found, two more are false
    crack = truth.clone()
    crack[0, 1, 0], crack[0, 3, :2] = False, True
    files = Path("a.png"), Path("b.png")
    report = Report(page)
    report.add("one", photo, crack, truth, files, {"length (px)": 12.25})
    report.add("two", photo, torch.zeros(1, 4, 5), None, files, {"cracks": 0, "bad": None})
    report.write({}, {}, None)
    cells = [(cell["data-label"], cell["data-value"]) for cell in Page(page).all("td")
             if "data-label" in cell]
    assert cells == [
        ("crack (%)", "30.0"), ("length (px)", "12.25"), ("Dice", str(8 / 11)), ("found (px)", "4"),
        ("false (px)", "2"), ("missed (px)", "1"), ("cracks", ""), ("bad", ""),
        ("crack (%)", "0.0"), ("length (px)", ""), ("Dice", ""), ("found (px)", ""),
        ("false (px)", ""), ("missed (px)", ""), ("cracks", "0"), ("bad", "")]
    assert Page(page).inside("dd") == ["1 of 2", "12.2 px", "– px"]
    assert len(Page(page).all("tr", **{"class": "clear"})) == 1


@pytest.mark.parametrize("numbers, cracked", [({}, 1), ({"cracks": 0}, 0), ({"cracks": 2}, 1)])
def test_a_photo_has_cracks_if_some_are_counted(tmp_path, numbers, cracked):
    """Not if it has only an area too wide for a crack; Dice is not defined without true cracks."""
    report = Report(tmp_path / "page.html")
    report.add("x", torch.zeros(3, 4, 5, dtype=torch.uint8), torch.ones(1, 4, 5),
               torch.zeros(1, 4, 5), (Path("a.png"), Path("b.png")), numbers)
    report.write({}, {}, None)
    page = Page(tmp_path / "page.html")
    assert page.inside("dd")[0] == f"{cracked} of 1"
    assert len(page.all("tr", **{"class": "clear"})) == 1 - cracked
    assert [cell["data-value"] for cell in page.all("td", **{"data-label": "Dice"})] == [""]


@pytest.mark.parametrize("value, text", [
    (None, "–"), (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (7, "7"),
    (1234.5, "1,234"), (99.95, "100"), (12.34, "12.3"), (0.66, "0.66"), (0.0004, "0.0004"),
    (-3.5, "-3.5"), ("<a>", "<a>")])
def test_figures(value, text):
    assert figures(value) == text


def test_the_sums_and_the_worst_come_first(tmp_path):
    """Rows by greatest width, then by share of crack; the one without any width after these."""
    page = tmp_path / "page.html"
    files, photo = (Path("a.png"), Path("b.png")), torch.zeros(3, 8, 8, dtype=torch.uint8)
    added = [("thin", 3, 2.5, 10.0), ("none", 0, None, 0.0), ("wide", 9, 70.25, 1200.5),
             ("thin, long", 5, 2.5, 20.0), ("not measured", 60, None, None)]
    report = Report(page)
    for name, pixels, width, length in added:
        crack = (torch.arange(64) < pixels).view(1, 8, 8)
        numbers = {"length (mm)": length, "greatest width (mm)": width}
        report.add(name, photo, crack, None, files, {} if length is None else numbers)
    report.write(ABOUT, {"pooled": {"IoU": 0.5}}, Histogram(["0 to 1"], [1], "px"),
                 [(Path("broken.png"), "broken.png: cut off")])
    html = Page(page)
    assert [row["data-value"] for row in html.all("th") if "data-value" in row] == [
        "wide", "thin, long", "thin", "not measured", "none"]
    assert html.inside("dd")[:3] == ["4 of 5", "1,230 mm", "70.2 mm"]
    assert html.inside("bdi")[0] == "wide", "where the greatest width is"
    assert [tag["id"] for tag in html.all("section")] == [
        "photos", "widths", "scores", "failed", "run"]


def folder(name: str, photos: int, length: float = 0.0, widest: float | None = None) -> dict:
    return {"folder": name, "photos": photos, "photos_with_cracks": 1, "cracks": 2,
            "length_px": 10 * length, "width_max_px": widest and 10 * widest, "length_mm": length,
            "width_max_mm": widest, "length_mm_below_0.3": length, "widest_photo": f"{name}/<x>"}


def test_sums_of_folders(tmp_path):
    """Where there are several, in the unit of the photos; the class of width has a column."""
    page, photo = tmp_path / "page.html", torch.zeros(3, 8, 8, dtype=torch.uint8)
    rows = [folder(".", 2, 3.5, 0.25), folder("a & b", 1, 3.5, 0.25), folder("c", 1)]
    report = Report(page)
    report.add("a & b/x", photo, photo[:1], None, (Path("a.png"), Path("b.png")),
               {"length (mm)": 3.5, "greatest width (mm)": 0.25})
    report.write({}, {}, folders=rows)
    html = Page(page)
    assert [tag["id"] for tag in html.all("section")] == ["folders", "photos", "run"]
    assert html.inside("button")[:7] == ["folder", "photos", "with cracks", "cracks",
                                         "length (mm)", "greatest width (mm)",
                                         "length (mm), width below 0.3"]
    assert [cell["data-value"] for cell in html.all("td")[:18]] == [
        "2", "1", "2", "3.5", "0.25", "3.5", "1", "1", "2", "3.5", "0.25", "3.5",
        "1", "1", "2", "0.0", "", "0.0"]
    assert [tag["data-folder"] for tag in html.all("a") if "data-folder" in tag] == [
        "", "a & b/", "c/"]
    assert "a & b/<x>" in html.inside("bdi")
    report.write({}, {}, folders=[folder(".", 1), folder("a & b", 1)])  # all in one
    assert not Page(page).all("section", id="folders")


def test_colours_are_explained(tmp_path):
    """Those of a comparison only where a mask was given."""
    for truth, meanings in ((False, 1), (True, 4)):
        report = Report(tmp_path / "page.html")
        fill(report, 2, truth)
        report.write({}, {}, None)
        html = Page(tmp_path / "page.html")
        colours = [overlay.PREDICTED, overlay.FOUND, overlay.FALSE, overlay.MISSED][:meanings]
        assert [tag["fill"] for tag in html.all("rect")] == [f"rgb{colour}" for colour in colours]


def test_a_page_is_written_again_and_whole(tmp_path):
    page = tmp_path / "page.html"
    report = Report(page)
    report.write({}, {}, None)
    report = Report(page)
    fill(report, 1)
    report.write({}, {}, None)
    assert "photo_0.png" in page.read_text("utf-8")
    before = page.read_bytes()
    report = Report(page)
    fill(report, 1)
    with pytest.raises(TypeError):
        report.write({"no number": object()}, {}, None)
    assert page.read_bytes() == before and list(tmp_path.iterdir()) == [page]
    with pytest.raises(FileNotFoundError):
        Report(tmp_path / "nowhere" / "page.html").write({}, {}, None)


def test_writing_takes_no_memory_for_the_thumbnails(tmp_path):
    """With 29 photos more, a megabyte of them, writing takes a tenth of that more at its peak."""
    peaks, page = [], tmp_path / "page.html"
    noise = torch.randint(256, (3, 160, 160), generator=torch.Generator().manual_seed(0))
    report = Report(page)
    for more in (1, 29):
        for _ in range(more):
            report.add("x", noise.to(torch.uint8), torch.zeros(1, 160, 160), None,
                       (Path("a.png"), Path("b.png")), {})
        report.write({}, {}, None)  # once before, for what is loaded once
        tracemalloc.start()
        report.write({}, {}, None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert page.stat().st_size > 1e6 and peaks[1] - peaks[0] < 1e5


def test_thumbnails_keep_the_thinnest_crack():
    """A line of one pixel is there from side to side, in the rows that it touches."""
    line = torch.zeros(1, 1111, 1000, dtype=torch.bool)
    line[0, 617] = True
    _, small = thumbnails(torch.zeros(3, 1111, 1000, dtype=torch.uint8), line, None, ())
    painted = np.array(small).any(2)
    assert small.size == (288, SIDE) and painted[617 * SIDE // 1111].all()
    assert painted.sum() in (288, 2 * 288)


@pytest.mark.parametrize("height, width, size", [(100, 50, (50, 100)), (1600, 400, (80, SIDE)),
                                                 (300, 3000, (SIDE, 32)), (1, 1, (1, 1))])
def test_thumbnails(height, width, size):
    photo = torch.full((3, height, width), 100, dtype=torch.uint8)
    blank = torch.zeros(1, height, width, dtype=torch.bool)
    images = *thumbnails(photo, ~blank, None, ()), [*thumbnails(photo, blank, ~blank, ())][1]
    for image, colour in zip(images, (None, overlay.PREDICTED, overlay.MISSED), strict=True):
        content = base64.b64decode(data_url(image).removeprefix("data:image/jpeg;base64,"))
        image = Image.open(io.BytesIO(content))
        wanted = (100,) * 3 if colour is None else [35 + 0.65 * part for part in colour]
        assert image.size == size and image.getpixel((0, 0)) == pytest.approx(wanted, abs=5)


@pytest.mark.parametrize("amounts", [[1.0, 4.0, 2.0], [0, 0, 1e6], [0.001, 0, 0]])
def test_bars_are_as_long_as_their_amounts(tmp_path, amounts):
    report = Report(tmp_path / "page.html")
    report.write({}, {}, Histogram(["0 to 0.5", "0.5 to 1", "1 to 3"], amounts, "px"))
    html = Page(tmp_path / "page.html")
    bars = [float(tag["width"]) for tag in html.all("rect") if tag["height"] == "1"][-3:]
    assert bars == pytest.approx([100 * amount / max(amounts) for amount in amounts], abs=0.01)
    texts = html.inside("th")
    assert "width (px)" in texts and "0.5 to 1" in texts
    assert set(map(figures, amounts)) <= set(html.inside("td"))


def test_a_third_picture_is_linked_and_shown(tmp_path):
    photo, mask = drawn(1)
    write_png(tmp_path / "w.png", torch.full((3, 90, 640), 7, dtype=torch.uint8))
    report = Report(tmp_path / "page.html")
    report.add("x", photo, mask, None, [tmp_path / f"{name}.png" for name in "pow"], {})
    report.write({}, {}, None)
    *_, tag = Page(tmp_path / "page.html").all("a", **{"class": "picture"})
    image = Page(tmp_path / "page.html").all("img", alt="Widths: x")[0]
    assert tag["href"] == "w.png" and (image["width"], image["height"]) == ("320", "45")


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme):
    """WCAG 2 AA: 4.5 for text on the ground and on panels."""
    block = re.findall(r":root \{(.*?)\}", PAGE, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): #(\w{6})", block))

    def luminance(colour: str) -> float:
        parts = [int(colours[colour][i:i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
                  for part in parts]
        return sum(map(float.__mul__, (0.2126, 0.7152, 0.0722), linear))
    for text in ("ink", "quiet", "accent", "bad"):
        for ground in ("ground", "panel"):
            low, high = sorted((luminance(text), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Twelve drawn photos beside their page; photo_10 has no measurement, photo_3 is gone."""
    folder = tmp_path_factory.mktemp("browser")
    report = Report(folder / "report.html")
    for index in range(12):
        photo, truth = drawn(index)
        crack = truth & (torch.arange(64) < 32) if index % 2 else truth
        files = folder / f"photo #{index}.png", folder / f"overlay {index}%.png"
        for file, picture in zip(files, (photo, overlay.overlay(photo, crack, truth))):
            write_png(file, picture)
        numbers = {} if index == 10 else {"length (px)": 30.0, WIDEST: (index * 7 % 12) / 2}
        report.add(f"photo_{index}", photo, crack, truth, files, numbers)
    report.write(ABOUT, {"pooled": {"IoU": 0.5}}, Histogram(["0 to 1", "1 to 2"], [3, 4], "px"))
    (folder / "photo #3.png").unlink()
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("needs the programs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    flags = ("headless=new no-sandbox disable-gpu disable-quic no-first-run disable-sync "
             "disable-background-networking disable-dev-shm-usage disable-component-update "
             "window-size=1280,900")
    for flag in [*flags.split(), f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def keys(browser, *pressed: str) -> None:
    from selenium.webdriver.common.keys import Keys
    for key in pressed:
        browser.switch_to.active_element.send_keys(getattr(Keys, key))


def shown(browser) -> list[int]:
    return browser.execute_script("return [...document.querySelectorAll('#list tbody tr')].filter("
                                  "row => row.checkVisibility()).map(row => Number("
                                  "row.cells[0].dataset.value.slice(6)))")


def active(browser, what: str) -> str | None:
    return browser.execute_script(f"return document.activeElement.{what}")


def settled(browser, script: str) -> bool:
    from selenium.webdriver.support.ui import WebDriverWait
    return WebDriverWait(browser, 5).until(lambda page: page.execute_script(f"return {script}"))


def test_sorting_by_keyboard(browser, page):
    browser.get(page.as_uri())
    width = {index: (index * 7 % 12) / 2 for index in range(12) if index != 10}
    by_width = sorted(width, key=width.get)
    assert shown(browser)[:10] == by_width[:0:-1] and set(shown(browser)) == set(range(12))
    browser.execute_script("document.querySelectorAll('#list th button')[0].focus()")
    keys(browser, "TAB", "TAB", "TAB")
    assert active(browser, "textContent") == WIDEST
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle"
                                  ) == "solid", "the focus cannot be seen"
    assert active(browser, "parentNode.ariaSort") == "descending"
    for key, order, rows in (("ENTER", "ascending", [*by_width, 10]),
                             ("SPACE", "descending", [*by_width[::-1], 10])):
        keys(browser, key)
        assert shown(browser) == rows and active(browser, "parentNode.ariaSort") == order
    browser.find_element("css selector", "#list th button").click()  # names, by their numbers
    assert shown(browser) == list(range(12))
    assert browser.execute_script("return document.querySelectorAll('[aria-sort]').length") == 1


def test_five_hundred_folders(browser, tmp_path):
    """In a box that scrolls; sorted by any column, and the photos of one are shown at a click."""
    folders = [folder(".", 12, 9.0, 9.0), *(folder(
        f"pier_{i}", 4 * (i < 3), 1.0, (i * 7 % 500) / 9) for i in range(500))]
    report = Report(tmp_path / "report.html")
    for index in range(12):
        photo, crack = drawn(index)
        files = tmp_path / "a.png", tmp_path / "b.png"
        report.add(f"pier_{index % 3}/{index}", photo, crack, None, files, {
            "length (mm)": 1.0, "greatest width (mm)": 1.0})
    report.write(ABOUT, {}, folders=folders)
    browser.get((tmp_path / "report.html").as_uri())
    box = browser.find_element("css selector", "#folders .scroll")
    assert box.size["height"] < 450 < int(box.get_property("scrollHeight"))
    first = "return document.querySelector('#folders tbody').rows[%d].cells[0].dataset.value"
    heads = browser.find_elements("css selector", "#folders th button")
    heads[5].click()  # the widest first
    assert browser.execute_script(first % 0) == "pier_357"
    heads[0].click()  # by name, by their numbers
    assert [browser.execute_script(first % i) for i in (0, 3, 500)] == [".", "pier_2", "pier_499"]
    assert browser.execute_script("return document.querySelectorAll('#list [aria-sort]').length")
    browser.find_element("css selector", "[data-folder='pier_1/']").click()
    names = "return [...document.querySelectorAll('#list tbody tr:not([hidden])')].map(%s)"
    wanted = [f"pier_1/{index}" for index in (1, 4, 7, 10)]
    assert sorted(browser.execute_script(names % "row => row.cells[0].dataset.value"),
                  key=lambda name: int(name[7:])) == wanted
    assert browser.find_element("id", "folder").get_property("value") == "pier_1/"
    browser.find_element("css selector", "[data-folder='']").click()
    assert len(browser.execute_script(names % "row => 0")) == 12
    assert browser.get_log("browser") == []


def test_filters(browser, page):
    browser.get(page.as_uri())
    blank = [index for index in range(12) if not drawn(index)[1].any()]
    assert blank, "the drawings should hold one without cracks"
    browser.find_element("id", "query").send_keys("PHOTO_1")
    assert sorted(shown(browser)) == [1, 10, 11]
    assert browser.find_element("id", "shown").text == "3 of 12"
    browser.find_element("id", "query").clear()
    browser.find_element("id", "minimum").send_keys("4.5")  # photo_10 has no width
    assert sorted(shown(browser)) == [i for i in range(12) if i != 10 and i * 7 % 12 >= 9]
    browser.find_element("id", "minimum").clear()
    browser.find_element("id", "query").send_keys("no folder has this")
    assert shown(browser) == []
    browser.find_element("id", "query").clear()
    browser.find_element("id", "query").send_keys(str(page.parent))
    assert len(shown(browser)) == 12
    browser.find_element("id", "query").clear()
    browser.find_element("id", "cracked").click()
    assert not set(shown(browser)) & set(blank) and set(shown(browser)) >= {1, 11} - set(blank)


def test_pictures_by_keyboard(browser, page):
    """Enter opens the full picture, arrows walk, Escape closes where one came from."""
    browser.get(page.as_uri())
    browser.execute_script("document.querySelector('#list th button').click()")  # by name
    browser.execute_script("document.querySelector('#list a.picture').focus()")
    keys(browser, "ENTER")
    full = "document.getElementById('full')"
    for key, file in ((None, "photo%20%230.png"), ("ARROW_RIGHT", "overlay%200%25.png"),
                      ("ARROW_RIGHT", "photo%20%231.png"), ("ARROW_LEFT", "overlay%200%25.png")):
        if key:
            keys(browser, key)
        assert settled(browser, f"{full}.complete && {full}.naturalWidth === 64")
        assert browser.execute_script(f"return {full}.src") == f"{page.parent.as_uri()}/{file}"
    assert browser.find_element("id", "title").text == "Overlay: photo_0"
    keys(browser, "ESCAPE")
    assert settled(browser, "!document.querySelector('dialog').open")
    assert settled(browser, "document.activeElement.firstElementChild?.alt === 'Overlay: photo_0'")
    assert browser.get_log("browser") == []


def test_a_picture_that_is_gone_is_shown_small(browser, page):
    browser.get(page.as_uri())
    browser.execute_script("document.querySelector('#list th button').click()")  # by name
    browser.execute_script("document.querySelectorAll('#list a.picture')[6].click()")
    assert settled(browser, "document.getElementById('full').src.startsWith('data:')")
    assert "thumbnail" in browser.find_element("id", "missing").text
    assert [line["message"] for line in browser.get_log("browser")
            if "ERR_FILE_NOT_FOUND" not in line["message"]] == []


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_fits_its_window_and_asks_for_nothing(browser, page, width):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 1000})
    browser.get_log("performance")
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for thumbnail in browser.find_elements("css selector", "a.picture img"):
        browser.execute_script("arguments[0].scrollIntoView()", thumbnail)
        settled(browser, "[...document.images].every(image => !image.checkVisibility() || "
                         "image.getBoundingClientRect().top > 900 || image.naturalWidth > 0)")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {message["params"]["request"]["url"] for message in messages
             if message["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:image/jpeg")} == {page.as_uri()}
    assert browser.get_log("browser") == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def printed(browser) -> bytes:
    """The page as PDF. On a busy machine Chrome sometimes answers "Printing failed" at once."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait
    waiting = WebDriverWait(browser, 30, 1, ignored_exceptions=[WebDriverException])
    return base64.b64decode(waiting.until(
        lambda page: page.execute_cdp_cmd("Page.printToPDF", {})["data"]))


def test_a_print_shows_every_picture(browser, page):
    """Twelve photos and overlays, of which no two are the same, and none of the controls."""
    browser.get(page.as_uri())
    pdf = printed(browser)
    drawn_over = [index for index in range(12) if drawn(index)[1].any()]
    assert pdf.count(b"/Subtype /Image") >= 12 + len(drawn_over)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.find_element("id", "controls").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
