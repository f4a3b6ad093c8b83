"""Remake docs/screenshots: the browser story, with its pictures kept.  `make screenshots`."""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.story import PROMPT, Story, photo, running_app, running_browser, told  # noqa: E402

PLACE = ROOT / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 980}


def shoot(story: Story, name: str, of: str | None = None) -> None:
    """The page as it is, from the top, or one part of it."""
    story.page.evaluate("window.scrollTo(0, 0)")
    story.page.mouse.move(2, 2)
    story.page.wait_for_timeout(800)
    path = PLACE / f"{name}.png"
    if of is None:
        story.page.screenshot(path=path, full_page=False)
    else:
        story.page.locator(of).screenshot(path=path)
    print(f"docs/screenshots/{name}.png")


def main() -> None:
    """Start the app, walk through it, keep its pictures."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            running_app(folder) as address,
            running_browser() as browser,
            told(browser, address, folder, viewport=SIZE, color_scheme="dark") as story,
        ):
            story.open()
            for prompt, seed in (("a rocket in space", 1), ("a penguin in the snow", 2), (PROMPT, 3)):
                story.draw(prompt, seed=seed)
                print(", ".join(f"{what} after {s:.2f} s" for what, s in story.seconds.items()))
            shoot(story, "prompt")
            story.see_the_steps()
            for _ in range(9):
                story.press("ArrowLeft")
            story.page.locator("#ld-scrubber .scrub[data-whole]").wait_for()
            shoot(story, "denoising")
            for panel in ("guidance", "words"):
                story.page.locator(f"#ld-scrubber [role=tab][data-name={panel}]").click()
                shoot(story, f"denoising-{panel}", of="#ld-scrubber")
            story.round_trip(photo(folder / "photo.png", (640, 470)))
            shoot(story, "roundtrip")
            story.page.get_by_role("tab", name="Model", exact=True).click()
            story.page.get_by_text("Why it is taken for that").wait_for()
            shoot(story, "model")


if __name__ == "__main__":
    main()
