"""Does the page say what was added, to a parser, to a browser and to a keyboard?"""

import base64
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unet_resnet.inference import overlay
from unet_resnet.synthetic import pavement
from unet_resnet.images import write_png
from unet_resnet.metrics import count
from unet_resnet.report.html import Histogram, Row, chart, list_row, round_step, show
from unet_resnet.report.page import FRAME, SIDE, WORST, Report, link, shrink, thumbnails

VOID = {"meta", "img", "input", "br", "link", "hr"}
HOSTILE = ['<script>alert("x")</script>.png', "a'b\"c & d.png", "two\nlines.png",
           "גשר \u202egnp.exe", "100% of #5?.png", "</table></style><!-- $rows $tiles {0}.png"]
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
    photo, mask = pavement.draw(index, size=size)
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
    with Report(page) as report:
        for name in names:
            write_png(folder / name, photo)
            report.add(name, photo, mask, None, (folder / name, page.parent / name), {name: 1})
        report.fail(HOSTILE[0], f"{HOSTILE[0]}: broken & <b>bad</b>")
        report.write(ABOUT | {"<i>": "</code>"}, {HOSTILE[5]: {HOSTILE[1]: 0.5}},
                     Histogram([0, 1], [1], "<width>", "&amount"))
    html = Page(page)
    assert [row["data-value"] for row in html.all("th") if "data-value" in row] == names
    assert html.inside("bdi")[:len(names)] == names
    assert [tag["alt"] for tag in html.all("img")[:-1:2]] == [f"Photo: {name}" for name in names]
    assert len(html.all("script")) == 1 and not html.all("i") and not html.all("b")
    assert "broken & <b>bad</b>" in html.inside("code")
    links = [tag["href"] for tag in html.all("a", **{"class": "picture"})]
    for name, url, beside in zip(names, links[::2], links[1::2], strict=True):
        assert not set(url) & set(" #?\n\"'<>&")
        assert (page.parent / os.fsdecode(unquote_to_bytes(url))).samefile(folder / name)
        assert os.fsdecode(unquote_to_bytes(beside)) == name, "not relative to the page"


def test_a_name_that_is_no_text(tmp_path):
    page, name = tmp_path / "page.html", os.fsdecode(b"bad\xff.png")
    photo, mask = drawn(0)
    with Report(page) as report:
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
    with Report(page) as report:
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
    with Report(page) as report:
        report.add("one", photo, crack, truth, files, {"length (px)": 12.25})
        report.add("two", photo, torch.zeros(1, 4, 5), None, files, {"cracks": 0, "bad": math.nan})
        report.write({}, {}, None)
    cells = [(cell["data-label"], cell["data-value"]) for cell in Page(page).all("td")
             if "data-label" in cell]
    assert cells == [
        ("crack (%)", "30.0"), ("length (px)", "12.25"), ("Dice", str(8 / 11)), ("found (px)", "4"),
        ("false (px)", "2"), ("missed (px)", "1"), ("cracks", ""), ("bad", ""),
        ("crack (%)", "0.0"), ("length (px)", ""), ("Dice", ""), ("found (px)", ""),
        ("false (px)", ""), ("missed (px)", ""), ("cracks", "0"), ("bad", "")]
    tiles = Page(page).inside("dd")
    assert tiles == ["2", "50%", "15.00%", "0.0", "0"]
    assert len(Page(page).all("tr", **{"class": "clear"})) == 1


@pytest.mark.parametrize("value, text", [
    (None, "–"), (math.inf, "–"), (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (7, "7"),
    (1234.5, "1,234"), (99.95, "100.0"), (12.34, "12.3"), (0.66, "0.660"), (0.0004, "0.0004"),
    (-3.5, "-3.500"), ("<a>", "<code>&lt;a&gt;</code>")])
def test_show(value, text):
    assert show(value) == text


def test_the_worst_come_first(tmp_path):
    """By Dice, then by the number of wrong pixels; right ones do not appear, nor unscored ones."""
    page = tmp_path / "page.html"
    files, photo = (Path("a.png"), Path("b.png")), torch.zeros(3, 8, 8, dtype=torch.uint8)
    truth = torch.zeros(1, 8, 8, dtype=torch.bool)
    truth[0, 0] = True

    def predicted(pixels: int) -> Tensor:
        return (torch.arange(64) < pixels).view(1, 8, 8)
    with Report(page) as report:
        report.add("unscored", photo, predicted(3), None, files, {})
        for pixels in (8, 4, 0, 7, 60):
            report.add(f"first {pixels}", photo, predicted(pixels), truth, files, {})
        report.add("more missed", photo, predicted(0), predicted(20), files, {})
        report.write({}, {}, None)
    names = Page(page).inside("bdi")
    worst = ["more missed", "first 0", "first 60", "first 4", "first 7"]
    dice = [count(predicted(pixels), truth).dice for pixels in (0, 60, 4, 7)]
    assert dice == sorted(dice) and names[:6] == [*worst, "unscored"]
    assert len(Page(page).all("figure")) == len(worst) <= WORST
    assert {"predicted", "found", "false", "missed"} == {
        tag["class"] for tag in Page(page).all("li") if "class" in tag}


@pytest.mark.parametrize("marked, message", [(False, "not written by unet_resnet"), (True, None)])
def test_only_a_report_is_written_over(tmp_path, marked, message):
    page = tmp_path / "page.html"
    page.write_text("<html>my page</html>")
    if marked:
        page.unlink()
        with Report(page) as report:
            report.write({}, {}, None)
        with Report(page) as report:
            fill(report, 1)
            report.write({}, {}, None)
        assert "photo_0.png" in page.read_text("utf-8")
    else:
        with pytest.raises(FileExistsError, match=message):
            Report(page)
        assert page.read_text() == "<html>my page</html>"
    assert list(tmp_path.iterdir()) == [page]


def test_a_file_that_came_while_photos_were_predicted_is_left_alone(tmp_path):
    page = tmp_path / "page.html"
    with Report(page) as report:
        page.write_text("mine")
        with pytest.raises(FileExistsError):
            report.write({}, {}, None)
    with pytest.raises(FileExistsError):
        Report(tmp_path)
    with pytest.raises(FileNotFoundError):
        Report(tmp_path / "nowhere" / "page.html")
    assert page.read_text() == "mine" and list(tmp_path.iterdir()) == [page]


def test_an_interrupted_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), Report(tmp_path / "page.html") as report:
        fill(report)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_photos(tmp_path):
    """What a report keeps of 40 photos is as large as of one; their thumbnails are 40 times."""
    def kept(report: Report) -> int:
        return len(json.dumps({name: value for name, value in vars(report).items()
                               if name not in ("_rows", "path")}))
    with Report(tmp_path / "page.html") as report:
        fill(report, 1)
        size, one = kept(report), report._rows.tell()
        fill(report, 39)
        assert kept(report) < size + 40 and report._rows.tell() > 20 * one


def test_shrink_keeps_the_thinnest_crack():
    """Against max pooling where the sizes divide; a line of one pixel survives any size."""
    mask = torch.rand(1, 60, 90, generator=torch.Generator().manual_seed(0)) > 0.97
    pooled = F.max_pool2d(mask.float(), 6).bool()
    assert torch.equal(shrink(mask, 10, 15), pooled)
    assert torch.equal(shrink(mask, 60, 90), mask)
    line = torch.zeros(1, 1000, 1111, dtype=torch.bool)
    line[0, 617] = True
    small = shrink(line, 7, 13)
    assert small.sum() == 13 and small[0, 617 * 7 // 1000].all()


@pytest.mark.parametrize("height, width, size", [(100, 50, (50, 100)), (1600, 400, (80, SIDE)),
                                                 (300, 3000, (SIDE, 32)), (1, 1, (1, 1))])
def test_thumbnails(height, width, size):
    photo = torch.full((3, height, width), 100, dtype=torch.uint8)
    blank = torch.zeros(1, height, width, dtype=torch.bool)
    urls = (*thumbnails(photo, ~blank, None), thumbnails(photo, blank, ~blank)[1])
    for url, colour in zip(urls, (None, overlay.PREDICTED, overlay.MISSED)):
        content = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
        image = Image.open(io.BytesIO(content))
        wanted = (100,) * 3 if colour is None else [35 + 0.65 * part for part in colour]
        assert image.size == size and image.getpixel((0, 0)) == pytest.approx(wanted, abs=5)


@pytest.mark.parametrize("value, step", [(1, 1), (1.2, 2), (3, 5), (5.5, 10), (0.03, 0.05),
                                         (740, 1000)])
def test_round_step(value, step):
    assert round_step(value) == pytest.approx(step)


@pytest.mark.parametrize("amounts", [[1.0, 4.0, 2.0], [0, 0, 1e6], [0.001, 0, 0]])
def test_bars_are_as_high_as_their_amounts(amounts):
    svg = chart(Histogram([0, 0.5, 1, 3], amounts))
    bars = [(float(width) + 1, float(height)) for width, height
            in re.findall(r'<rect .*?width="([\d.]+)" height="([\d.]+)"', svg)]
    widths, heights = zip(*bars)
    tallest = max(heights)
    assert heights == pytest.approx([amount / max(amounts) * tallest for amount in amounts], abs=.1)
    assert widths[2] == pytest.approx(4 * widths[0], abs=.2) and 100 <= tallest <= 200
    ticks = [float(text.replace(",", "")) for text in re.findall(r'class="end">([\d.,e-]+)<', svg)]
    assert ticks[0] == 0 and ticks[-2] < max(amounts) <= ticks[-1] and 3 <= len(ticks) <= 6
    assert "crack width (px)" in svg and "0.5 to 1" in svg


def test_a_row_keeps_its_columns():
    row = Row("a", 1, 1, {"x": 1}, [("u", "t"), ("v", "s")])
    assert list_row(row, ["x", "y"], clear=False).count("<td data-label=") == 2


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme):
    """WCAG 2 AA: 4.5 for text on the ground and on panels."""
    block = re.findall(r":root \{(.*?)\}", FRAME.read_text("utf-8"), re.DOTALL)[scheme]
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
    with Report(folder / "report.html") as report:
        for index in range(12):
            photo, truth = drawn(index)
            crack = truth & (torch.arange(64) < 32) if index % 2 else truth
            files = folder / f"photo #{index}.png", folder / f"overlay {index}%.png"
            for file, picture in zip(files, (photo, overlay.overlay(photo, crack, truth))):
                write_png(file, picture)
            numbers = {} if index == 10 else {"width (px)": (index * 7 % 12) / 2}
            report.add(f"photo_{index}", photo, crack, truth, files, numbers)
        report.write(ABOUT, {"pooled": {"IoU": 0.5}}, Histogram([0, 1, 2], [3, 4]))
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
             "disable-background-networking disable-component-update window-size=1280,900")
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
    assert shown(browser) == list(range(12))
    width = {index: (index * 7 % 12) / 2 for index in range(12) if index != 10}
    by_width = sorted(width, key=width.get)
    browser.execute_script("document.querySelectorAll('#list th button')[0].focus()")
    keys(browser, "TAB", "TAB")
    assert "width (px)" in active(browser, "textContent")
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle"
                                  ) == "solid", "the focus cannot be seen"
    for key, order, rows in (("ENTER", "descending", [*by_width[::-1], 10]),
                             ("SPACE", "ascending", [*by_width, 10])):
        keys(browser, key)
        assert shown(browser) == rows and active(browser, "parentNode.ariaSort") == order
    browser.find_element("css selector", "#list th button").click()  # names, by their numbers
    assert shown(browser) == list(range(12))
    assert browser.execute_script("return document.querySelectorAll('[aria-sort]').length") == 1


def test_filters(browser, page):
    browser.get(page.as_uri())
    blank = [index for index in range(12) if not drawn(index)[1].any()]
    assert blank, "the drawings should hold one without cracks"
    browser.find_element("id", "query").send_keys("PHOTO_1")
    assert shown(browser) == [1, 10, 11]
    assert browser.find_element("id", "shown").text == "3 of 12"
    browser.find_element("id", "query").clear()
    browser.find_element("id", "cracked").click()
    assert not set(shown(browser)) & set(blank) and set(shown(browser)) >= {1, 11} - set(blank)


def test_pictures_by_keyboard(browser, page):
    """Enter opens the full picture, arrows walk, Escape closes where one came from."""
    browser.get(page.as_uri())
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
    assert active(browser, "firstElementChild.alt") == "Overlay: photo_0"
    assert browser.get_log("browser") == []


def test_a_picture_that_is_gone_is_shown_small(browser, page):
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('#list a.picture')[6].click()")
    assert settled(browser, "document.getElementById('full').src.startsWith('data:')")
    assert "small version" in browser.find_element("id", "missing").text
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
