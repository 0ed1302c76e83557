"""``brittle show PICTURE``: one file attacked without a label, whatever the file is like."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brittle.api import showing
from brittle.core.pictures import Exhibit
from brittle.evaluation import drawing
from brittle.reports.parts import exhibits
from brittle.types import Features

Command = Callable[..., tuple[int, str, str]]
SMALL = ("-e", "pixels(size=8)")
WEAK = ("-a", "embed(steps=2)")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setattr(showing, "SCENES", "scenes(train=16, val=8, test=8, size=8)")
    monkeypatch.setattr(showing, "COMPARED", 16)


@pytest.fixture
def photo(tmp_path: Path) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((60, 40))


def _attacked(path: Path, **changes: str) -> Exhibit:
    return showing.attacked(path, "pixels(size=8)", **{"attack": "embed(steps=2)", **changes})


def test_a_picture_is_drawn_and_named(brittle: Command, tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "photo.png"
    photo.save(path)
    for ending in ("png", "html"):
        out = tmp_path / "made" / f"photo.{ending}"
        code, said, err = brittle("show", path, "-e", "pixels(size=16)", *WEAK, "--eps", "4/255", "--output", out)
        assert code == 0
        assert f"written: {out}" in err
        assert re.search(r"the pooled feature moved by 0\.\d\d of its length \(relative L2\), cosine [01]\.\d\d", said)
    assert Image.open(tmp_path / "made" / "photo.png").width > 5 * 150
    page = (tmp_path / "made" / "photo.html").read_text(encoding="utf8")
    assert "embed(steps=2) 4/255 linf on pixels(size=16)" in page
    assert "default-src 'none'" in page
    assert page.count("data:image/webp;base64,") == page.count("<img") == 3 + 2 + 2 * showing.NEAREST


@pytest.mark.threat("names")
def test_the_default_name_is_harmless_and_lies_here(
    brittle: Command, tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "<img src=x onerror=alert(1)>.png"
    photo.save(name)
    assert brittle("show", name, *SMALL, *WEAK)[0] == 0
    (made,) = (path for path in tmp_path.iterdir() if path.name != name)
    assert re.fullmatch(r"[A-Za-z0-9.-]+\.png", made.name)
    page = exhibits.html(_attacked(Path(name)))
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page


def test_what_is_shown_is_what_was_done(tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "photo.png"
    photo.save(path)
    shown = _attacked(path, eps="8/255")
    (_, drawn), (_, before), (_, after) = shown.rows
    pixels = [_pixels(text).float() / 255 for _, text in drawn[:2]]
    change = (pixels[1] - pixels[0]).abs().max().item()
    assert 7 / 255 <= change <= 9.01 / 255  # each is rounded to 8 bits
    assert drawn[2][0] == "the perturbation ×15"  # 0.5 / (8 / 255) = 15.9
    for row in (before, after):
        cosines = [float(caption.split(", ")[1]) for caption, _ in row]
        assert cosines == sorted(cosines, reverse=True)


def _pixels(text: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(text))))).permute(2, 0, 1)


def test_how_far_features_moved() -> None:
    before = torch.tensor([[3.0, 4.0]])
    assert showing._moved(before, 2 * before) == "1.00 of its length (relative L2), cosine 1.00"
    assert showing._moved(before, torch.tensor([[-4.0, 3.0]])) == "1.41 of its length (relative L2), cosine 0.00"
    grid = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # two tokens, of which one turns about
    turned = torch.tensor([[[[1.0, 0.0]], [[0.0, -1.0]]]])
    assert showing._moved(grid, turned) == "1.41 of its length (relative L2), cosine 0.00"


def test_the_nearest_scenes_are_those_of_the_highest_cosine() -> None:
    data = showing.dataset_of(showing.SCENES, "train")
    scenes = torch.nn.functional.normalize(torch.randn(16, 5, generator=torch.Generator().manual_seed(0)))
    found = showing._near(data, 7 * scenes, Features(scenes[[3]], torch.zeros(1, 5, 1, 1)))
    assert found[0][0] == f"{data.classes['label'][int(data[3].targets['label'])]}, 1.00"
    assert found[0][1] == drawing.photograph(data[3].image.float() / 255)


def test_a_picture_is_right_in_whatever_form_it_comes(tmp_path: Path, photo: Image.Image) -> None:
    def seen(name: str, image: Image.Image, **how: object) -> str:
        image.save(tmp_path / name, **how)
        return _attacked(tmp_path / name).rows[0][1][0][1]

    plain = seen("plain.png", photo)
    grey = seen("grey.png", photo.convert("L"))
    exif = Image.Exif()
    exif[0x112] = 6
    clear = photo.copy()
    clear.putalpha(128)
    assert seen(".hidden.png", photo) == plain
    assert seen("wrong.jpg", photo, format="PNG") == plain
    assert seen("alpha.png", clear) == plain
    assert seen("sixteen.png", Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)) == grey
    assert seen("turned.png", photo.rotate(90, expand=True), exif=exif) == plain
    assert seen("animated.png", photo, save_all=True, append_images=[photo.rotate(180)]) == plain
    for name, image in (("cmyk.jpg", photo.convert("CMYK")), ("one.png", photo.convert("1"))):
        assert seen(name, image)
    for name, size in (("tiny.png", (1, 1)), ("long.png", (3, 60_000))):
        assert _pixels(seen(name, Image.new("RGB", size, (9, 9, 9)))).eq(9).all()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("missing.png", *SMALL), 4, "no picture missing.png"),
        ((".", *SMALL), 2, ". is a folder; name one picture in it"),
        (("broken.png", *SMALL), 3, "broken.png: cannot be read as an image"),
        (("photo.png",), 2, "no -e given; name the encoder that sees photo.png"),
        (("photo.png", *SMALL, "-a", "pgd"), 2, "attack 'pgd' needs a label or a head, and a picture has neither"),
        (("photo.png", *SMALL, "-a", "embed(keep=score)"), 2, "attack 'embed' needs a label or a head"),
        (("photo.png", *SMALL, "-a", "universal"), 2, "attack 'universal' needs images of a data set"),
        (("photo.png", *SMALL, "-a", "embde"), 2, "did you mean 'embed'?"),
        (("photo.png", *SMALL, "--eps", "8"), 2, "eps"),
        (("photo.png", "-e", "dino"), 2, "did you mean 'embedded:dino'?"),
        (("photo.png", *SMALL, "--output", "photo.jpg"), 2, "--output photo.jpg: must end in .png or .html"),
        (("photo.png", *SMALL, "--output-dir", "here"), 2, "--output-dir is for a run's pictures; give --output FILE"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    brittle: Command,
    tmp_path: Path,
    photo: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    Path("broken.png").write_bytes(Path("photo.png").read_bytes()[:200])
    found, _, err = brittle("show", *words)
    assert found == code
    assert why in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"photo.png", "broken.png"}
