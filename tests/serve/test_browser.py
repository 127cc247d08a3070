"""The page as a person uses it: Debian's Chromium, driven by Playwright, against a running server."""

import re
import shutil

import pytest
from watching import advances, seconds

from multimodal.progress import tell
from multimodal.store import Store

SERIOUS = ("serious", "critical")


def test_search_play_more_like_this_open_and_seek(opening, server):
    with opening() as page:
        page.goto("/")
        page.keyboard.press("Escape")
        page.locator("#q").press_sequentially("chop the onion", delay=20)
        page.wait_for_selector(".hit mark")
        assert re.search(r"\?q=chop(\+|%20)the(\+|%20)onion$", page.url), "the address is the search"
        first = page.locator(".hit").first
        assert "onion" in first.locator("mark").all_inner_texts()[-1].lower()
        assert first.locator("svg.bar").count() == 2 and "heard" in first.locator(".why").inner_text()
        page.wait_for_function("() => document.querySelector('.hit .thumb').naturalWidth > 0")

        playable = page.locator(".hit", has_text="kitchen-").first
        begins = float(playable.get_attribute("data-start"))
        playable.locator(".play").click()
        advances(page, "video.player", begins + 0.3)
        assert seconds(page, "video.player") < begins + 30
        assert page.locator("video.player track[kind=captions]").count() == 1

        playable.get_by_text("More like this").click()
        page.wait_for_selector(".asked")
        assert "look like" in page.locator(".asked").inner_text() and page.locator(".hit").count() > 0

        page.goto(f"/video/{server.digest('kitchen-000.mp4')}")
        sentence = page.locator("#sentences li").nth(2)
        start = float(sentence.get_attribute("data-start"))
        sentence.locator("a").click()
        advances(page, "#player", start + 0.2)
        assert f"t={start:.1f}" in page.url
        page.wait_for_selector("#sentences li.now")
        page.eval_on_selector("#player", "video => video.pause()")
        page.locator("h1").click()
        page.keyboard.press("]")
        page.wait_for_function("() => document.querySelector('#sentences li.now')?.dataset.number > 2")
        page.locator("#find").fill("banana")
        assert page.locator("#sentences li:not(.off)").count() < page.locator("#sentences li").count()
        page.get_by_role("button", name="What comes next here?").click()
        page.wait_for_selector("#expected .horizons")
        assert page.locator("#expected .note").count() == 1, "what not to trust is said"
        assert page.locator("#take-clip").get_attribute("href").startswith("/api/videos/")


def test_a_preview_plays_where_the_pointer_rests(opening):
    with opening() as page:
        page.goto("/?q=onion+carrot+tomato+cabbage+banana+egg")
        link = page.locator(".hit", has_text="kitchen-").first.locator(".play")
        assert page.locator(".play video").count() == 0
        link.hover()
        advances(page, ".play video", 0.1)
        preview = link.locator("video")
        assert preview.evaluate("video => video.muted && !video.controls")
        page.mouse.move(2, 2)
        page.wait_for_function("() => !document.querySelector('.play video')")
        # What no browser plays steps through its pictures.
        image = page.locator(".hit", has_text="old film").first.locator(".play img")
        own = image.get_attribute("src")
        image.hover()
        page.wait_for_function(
            "own => [...document.querySelectorAll('.play img')].some(i => i.closest('.hit').innerText.includes('old film') && !i.src.endsWith(own))",
            arg=own,
        )
        page.mouse.move(2, 2)
        page.wait_for_function(
            "own => [...document.querySelectorAll('.play img')].some(i => i.src.endsWith(own))", arg=own
        )
    with opening(reduced_motion="reduce") as page:
        page.goto("/?q=onion")
        page.locator(".play").first.hover()
        page.wait_for_timeout(800)
        assert page.locator(".play video").count() == 0, "whoever wants no motion gets none"


def test_the_model_page_begins_with_sample_answers(opening):
    with opening() as page:
        page.goto("/model")
        titles = page.locator("main h2").all_inner_texts()
        assert titles[:3] == ["Sample answers", "What to trust", "Ask it"]
        assert page.locator(".samples mark").count() > 0 and page.locator(".samples figure").count() > 5
        assert not page.locator("#figures + *").is_visible() or page.locator("details[open]").count() == 0
        page.locator(".samples h3 a").first.click()
        page.wait_for_selector(".hit")


def test_a_run_of_another_process_is_seen_as_it_goes_on(opening, starting, sample, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(sample.root, store)
    own = starting(store)
    with opening(own.url) as page:
        page.goto("/library")
        assert page.locator("#run").is_hidden()
        with Store(store).writing():
            tell(store, "pretrain", "pretrain: 3 of 10 steps")
            page.wait_for_function(
                "() => document.getElementById('run-said')?.innerText.includes('3 of 10 steps')"
            )
            tell(store, "pretrain", "pretrain: 4 of 10 steps")
            page.wait_for_function(
                "() => document.getElementById('run-said')?.innerText.includes('4 of 10 steps')"
            )
        page.wait_for_function("() => document.getElementById('run').innerText.includes('has ended')")
        page.locator("tr", has_text="kitchen-000.mp4").get_by_role("button", name="Transcribe").click()
        page.locator("#hearing select[name=language]").select_option("de")
        page.locator("#not-now").click()
        assert page.locator("#hear").is_hidden()


def test_a_picture_of_ones_own_is_asked_with(opening):
    """This store's clips were made elsewhere, which is what it says."""
    with opening() as page:
        page.goto("/")
        page.set_input_files("#picture", {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG"})
        page.wait_for_selector("#results .notice")
        assert "made elsewhere" in page.locator("#results").inner_text()


def test_a_link_to_a_moment_opens_there(opening, server):
    with opening() as page:
        page.goto(f"/video/{server.digest('kitchen-001.mp4')}?t=8&q=the")
        page.wait_for_function("() => Math.abs(document.getElementById('player').currentTime - 8) < 0.5")
        assert page.locator("#sentences li.now").count() == 1
        assert page.locator(".bands .tokens rect").count() > 1


def test_what_no_browser_plays_is_cut_and_plays(opening, server):
    with opening() as page:
        page.goto(f"/video/{server.digest('old film.mkv')}")
        assert page.locator("#unplayable").is_visible()
        page.locator("#sentences a").first.click()
        advances(page, "#player", 0.3)


def test_the_atlas_zooms_and_shows_the_clips_of_a_token(opening):
    with opening() as page:
        page.goto("/atlas")
        page.wait_for_selector("#map[data-ready]")
        before = page.screenshot(clip=page.locator("#map").bounding_box())
        page.locator("#map").hover()
        page.mouse.wheel(0, -600)
        page.wait_for_timeout(300)
        assert page.screenshot(clip=page.locator("#map").bounding_box()) != before
        page.locator("#tree button").first.click()
        page.locator("#tree .tree button").first.click()
        page.wait_for_selector("#token figure a")
        assert re.search(
            r"/video/[0-9a-f]{64}\?t=", page.locator("#token figure a").first.get_attribute("href")
        )


def test_one_mends_a_sentence_sees_a_refusal_and_removes_a_video(opening, starting, sample, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(sample.root, store)
    own = starting(store)
    with opening(own.url) as page:
        page.goto(f"/video/{own.digest('kitchen-000.mp4')}")
        page.locator(".mend").nth(1).click()
        page.locator("#sentences textarea").fill("Here is the rutabaga.")
        page.get_by_role("button", name="Mend", exact=True).click()
        page.wait_for_selector("#sentences li:nth-child(2) a:visible")
        assert "rutabaga" in page.locator("#sentences li").nth(1).inner_text()
        page.goto("/?q=rutabaga")
        assert page.locator(".hit mark").first.inner_text() == "rutabaga"
        page.goto("/library")
        page.set_input_files(
            "#file", {"name": "list.mp4", "mimeType": "video/mp4", "buffer": b"#EXTM3U\nfile:///etc/passwd\n"}
        )
        page.wait_for_selector("#uploads .bad")
        assert "refused: list.mp4" in page.locator("#uploads").inner_text()
        rows = page.locator("tr[data-video]").count()
        page.locator("tr", has_text="kitchen-001.mp4").get_by_role("button", name="Remove").click()
        page.locator("#yes").click()
        page.wait_for_function(f"() => document.querySelectorAll('tr[data-video]').length === {rows - 1}")
        page.goto("/library")
        assert page.locator("tr[data-video]").count() == rows - 1


def test_without_javascript_one_can_search_and_read(opening):
    with opening(java_script_enabled=False) as page:
        page.goto("/")
        page.locator("#q").fill("wash -banana")
        page.get_by_role("button", name="Search", exact=True).click()
        assert page.locator(".hit").count() > 0 and "q=wash" in page.url
        page.locator(".hit .where a").first.click()
        assert page.locator("#sentences li").count() > 0 and "t=" in page.url
        page.goto("/?q=onoin")
        assert "onion" in page.locator("main").inner_text(), "did you mean"
        page.goto("/?q=xylophone")
        assert "nobody says xylophone" in page.locator("#results").inner_text()
        page.goto("/?q=carrot&longer=9999")
        assert "the filters leave none" in page.locator("#results").inner_text()


def test_markup_is_text(opening, server):
    with opening() as page:
        page.goto("/?q=onion")
        assert "<script>alert(2)</script>" in page.locator("#results").inner_text()
        for address in (f"/video/{server.digest(HOSTILE)}?q=%3Cscript%3E", "/library", "/?q=%3Cimg%20src%3Dx%20onerror%3Dalert(3)%3E",
                        "/library?name=%22%3E%3Cscript%3Ealert(4)%3C/script%3E", "/model"):  # fmt: skip
            page.goto(address)
        page.goto("/library")
        assert HOSTILE in page.locator("table").inner_text()


HOSTILE = "<img src=x onerror=alert(1)>'\"&.mp4"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1920, "light")])
def test_every_page_is_accessible_and_fits(opening, server, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opening(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
        bypass_csp=True,
    ) as page:
        for address in (
            "/?q=carrot",
            f"/video/{server.digest('kitchen-000.mp4')}",
            "/library",
            "/model",
            "/api/",
        ):
            page.goto(address)
            found = Axe().run(page).response["violations"]
            told = [
                (v["id"], [n["html"][:100] for n in v["nodes"][:3]]) for v in found if v["impact"] in SERIOUS
            ]
            assert told == [], address
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_the_first_page_is_small(server):
    page = server.client.get("/")
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    assert len(page.content) + sum(len(server.client.get(a).content) for a in assets) < 100_000
