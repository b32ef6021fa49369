"""``make tour``: the pictures of docs/tour.md, taken anew from the running product.

The service, its queue and a worker run as they do for everybody; a visitor's browser does what the
tour tells. Own data are a few classes of CIFAR-100, packed as a visitor would pack a folder.
"""

import argparse
import io
import sys
import tempfile
import zipfile
from pathlib import Path

import httpx
import skimage
from PIL import Image
from playwright.sync_api import Page, expect

from models.store import RELEASE_FOLDER
from tests.browser.chromium import HOW, browser, find_chromium, visit
from tests.launcher import Launcher

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "tour"

PETS = ("hamster", "rabbit", "turtle", "tiger", "aquarium_fish")
TRAIN, TEST = 300, 50
"""Pictures of each."""

PHOTOS = Path(skimage.__file__).parent / "data"

COLOURS = 128
"""Enough for pages of few colours, and a fifth of the bytes."""

expect.set_options(timeout=60_000)


def main() -> int:
    """Take every picture."""
    parser = argparse.ArgumentParser(prog="make tour ARGS=…", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with cifar100")
    options = parser.parse_args()
    cifar, path = (options.data / "cifar100").resolve(), find_chromium()
    if path is None or not cifar.is_dir():
        print(HOW if path is None else f"there is no {cifar}", file=sys.stderr)
        return 2
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tour-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / "cifar100").symlink_to(cifar)
        launcher = Launcher(
            folder / "store",
            folder / "data",
            OMP_NUM_THREADS="2",
            STILLHOUSE_RELEASE=str(RELEASE_FOLDER),
        )
        try:
            launcher.start()
            with browser(path) as started, visit(started, launcher.address) as seen:
                walk(seen.page, launcher.client, folder)
                assert not seen.elsewhere, seen.elsewhere
        finally:
            launcher.client.close()
            launcher.stop()
    taken = sorted(PICTURES.glob("*.png"))
    print(f"{len(taken)} pictures, {sum(each.stat().st_size for each in taken):,} bytes")
    return 0


def walk(page: Page, client: httpx.Client, folder: Path) -> None:
    """Do what the tour tells, in its order."""
    try_photos(page)
    bring_data(page, client, folder)
    first = distil_alone(page)
    distil_taught(page, first)
    promote(page)
    try_again(page, client)


def try_photos(page: Page) -> None:
    """Drop two photos, one of something that the release knows."""
    page.goto("/")
    page.locator("#files").set_input_files([PHOTOS / "rocket.jpg", PHOTOS / "coffee.png"])
    expect(page.locator("#tally")).to_have_text("2 of 2 pictures answered")
    take(page, "try")


def bring_data(page: Page, client: httpx.Client, folder: Path) -> None:
    """Send own pictures, and look at them."""
    archive = folder / "pets.zip"
    archive.write_bytes(pack(client))
    page.goto("/pages/data")
    page.get_by_label("Name").fill("pets")
    page.get_by_label("Choose a zip").set_input_files(archive)
    expect(page.get_by_role("heading", level=1)).to_have_text("pets")
    expect(page.locator("#warnings")).to_contain_text("pictures were looked at")
    page.wait_for_function("() => [...document.images].every(image => image.naturalWidth)")
    take(page, "data")


def distil_alone(page: Page) -> str:
    """Distil an ensemble without a teacher, and return the job's id."""
    page.get_by_role("link", name="Distil an ensemble on it").click()
    page.locator("#members").fill("4")
    page.locator("#epochs").fill("15")
    page.locator("#name").fill("pets-alone")
    page.locator("#teacher_kind").select_option("none")
    page.get_by_role("button", name="What would it take?").click()
    expect(page.get_by_role("heading", name="What it would take")).to_be_visible()
    take(page, "plan")
    page.get_by_role("button", name="Start the job").click()
    expect(page.locator("#job-state .tag")).to_have_text("running")
    page.wait_for_function("() => /epoch [7-9] of/.test(document.body.innerText)", timeout=300_000)
    take(page, "learning")
    return finished(page)


def distil_taught(page: Page, first: str) -> None:
    """Clone that job, with the ensemble that came of it as a teacher, and compare the two."""
    page.get_by_role("link", name="Clone with changes").click()
    page.locator("#name").fill("pets-taught")
    page.locator("#epochs").fill("30")
    page.locator("#teacher_kind").select_option("ensemble")
    page.locator("#teacher_ensemble").select_option(index=0)  # the newest
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("pets-taught")
    finished(page)
    page.reload()
    page.get_by_label("Compare with").select_option(first)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("What differs")).to_be_visible()
    take(page, "compared")
    page.go_back()


def promote(page: Page) -> None:
    """Look at what came of it, and let it answer."""
    page.get_by_role("link", name="See the ensemble").click()
    expect(page.get_by_role("heading", name="What it reaches")).to_be_visible()
    take(page, "ensemble")
    page.get_by_role("button", name="Let it answer").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    take(page, "promote", whole=False)
    page.get_by_role("dialog").get_by_role("button", name="Let it answer").click()
    expect(page.get_by_text("It answers now")).to_be_visible()


def try_again(page: Page, client: httpx.Client) -> None:
    """Ask the new ensemble about pictures that it has not seen."""
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Four small networks vote")
    pictures = [
        {
            "name": f"{label}.png",
            "mimeType": "image/png",
            "buffer": of_cifar(client, label, "test", 40),
        }
        for label in PETS[:3]
    ]
    page.locator("#files").set_input_files(pictures)  # type: ignore[arg-type]
    expect(page.locator("#tally")).to_have_text("3 of 3 pictures answered")
    take(page, "answers")


def finished(page: Page) -> str:
    """Wait for the job that is looked at, and return its id."""
    expect(page.locator("#job-state .tag")).to_have_text("succeeded", timeout=900_000)
    return page.url.rpartition("/")[2]


def pack(client: httpx.Client) -> bytes:
    """Return a zip of folders, one for each class, as a visitor would have it."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for split, count in (("train", TRAIN), ("test", TEST)):
            for label in PETS:
                for index in range(count):
                    data = of_cifar(client, label, split, index)
                    archive.writestr(f"{split}/{label}/{index}.png", data)
    return sink.getvalue()


def of_cifar(client: httpx.Client, label: str, split: str, index: int) -> bytes:
    """Return a picture of CIFAR-100, as a PNG file."""
    asked = f"label={label}&split={split}&index={index}"
    response = client.get(f"/datasets/cifar100/picture?{asked}")
    response.raise_for_status()
    return response.content


def take(page: Page, name: str, *, whole: bool = True) -> None:
    """Take one picture: of the whole page, or of what is seen of it."""
    page.mouse.move(0, 0)
    data = page.screenshot(full_page=whole)
    picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(COLOURS)
    picture.save(PICTURES / f"{name}.png", optimize=True)
    print(f"{name}.png {picture.width} x {picture.height}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
