"""A video element of a page that is watched."""


def seconds(page, selector: str) -> float:
    return page.eval_on_selector(selector, "video => video.currentTime")


def advances(page, selector: str, beyond: float) -> None:
    page.wait_for_function(
        "([selector, beyond]) => { const video = document.querySelector(selector); return video && video.currentTime > beyond; }",
        arg=[selector, beyond],
    )
