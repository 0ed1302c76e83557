"""The ways in that strangers' input takes, each with valid inputs, and what may come of invalid ones: the value itself,
or one line of refusal."""

import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mutation
import numpy as np
import published
import torch
from PIL import Image, ImageOps
from safetensors.torch import save

from brittle.api.loading import load_dataset, load_encoder
from brittle.core import components
from brittle.core.errors import BrittleError
from brittle.core.records import Cell, Finding, Result
from brittle.evaluation import cache
from brittle.planning import plan
from brittle.results.store import Store
from brittle.types import image_files, weight_files
from brittle.types.target import STANDARD


class WrongError(Exception):
    """A number that is not the input's, with nothing said."""


class Surface(NamedTuple):
    """``run``: tries one input, drawn and changed by a generator; raises BrittleError where it is refused."""

    run: Callable[[random.Random], None]


def require(right: bool, why: str) -> None:
    if not right:
        raise WrongError(why)


# --- specs and plans --------------------------------------------------------------------------------------------------

SPECS = (
    ("encoders", "timm:vit_small_patch14_dinov2.lvd142m(size=224)"),
    ("encoders", "file:runs/deacl/encoder.safetensors(part=teacher, size=0)"),
    ("encoders", "embedded:random(seed=3)"),
    ("datasets", "scenes(train=64, val=32, test=16, size=8, seed=1)"),
    ("datasets", "folder:/data/photos (2019)(classes=3, depth_scale=0.001, skip_unreadable=true)"),
    ("tasks", "depth(max_depth=10)"),
    ("objectives", "targeted(label=1)"),
    ("attacks", "worst(attacks=[pgd(steps=3, step=1/4, objective=segpgd), embed(distance='cosine'), noise])"),
    ("attacks", "apgd(steps=5, objective=dlr, restarts=2)"),
    ("attacks", "curve(attack='embed(steps=2)')"),
    ("tuning", "deacl(gamma=3, eps=4/255)"),
    ("launch", "local"),
)


def specs(_folder: Path) -> Surface:
    def run(draw: random.Random) -> None:
        kind, text = draw.choice(SPECS)
        changed = mutation.text_of(draw, text, [text for _, text in SPECS])
        full = components.complete(kind, changed)
        again = components.complete(kind, str(full))
        require(str(again) == str(full), f"{changed!r} is {full}, which is {again}")

    return Surface(run)


PLANS = (
    "name: demo\nencoders: ['embedded:dino', \"pixels(size=8)\"]\ndatasets: [scenes]\ntasks: [classification, depth]\n"
    "attacks: [embed, downstream]\neps: [8/255, 0.5, 1e-4]\nnorm: linf\nseeds: [0, 1]\nlimit: 32\nchecks: fast\n",
    '{"encoders": ["pixels"], "datasets": ["scenes(test=8)"], "eps": ["12"], "norm": "l1", "sources": {"a": "b"}}',
    "encoders:\n  - timm:x\n  - file:{weights}/a.pth\ndatasets:\n- folder:{data}/b\nprotocol: standard(subset=first)\n",
)


def plans(folder: Path) -> Surface:
    path = folder / "plan.yaml"

    def run(draw: random.Random) -> None:
        text = mutation.text_of(draw, draw.choice(PLANS), PLANS)
        path.write_bytes(text.encode(errors="surrogatepass"))
        made = plan.read(str(path))
        require(all(isinstance(each, float | str) and each is not True for each in made.eps), f"eps {made.eps}")
        require(made.limit is None or (type(made.limit) is int and made.limit > 0), f"limit {made.limit}")
        require(all(type(seed) is int and 0 <= seed < 2**63 for seed in made.seeds), f"seeds {made.seeds}")

    return Surface(run)


# --- image files ------------------------------------------------------------------------------------------------------


def _encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def _pictures() -> list[bytes]:
    colours = Image.fromarray(published.pixels(3, 24, 16))
    turned = Image.Exif()
    turned[0x0112] = 6
    grey16 = Image.fromarray((np.arange(384).reshape(16, 24) * 170).astype(np.uint16))
    every = [_encoded(colours, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG2000")]
    every += [_encoded(colours.convert(mode), "PNG") for mode in ("L", "P", "1", "LA", "RGBA")]
    every += [_encoded(colours, kind, exif=turned) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    every += [_encoded(colours.convert("CMYK"), "JPEG"), _encoded(grey16, "PNG"), _encoded(grey16, "TIFF")]
    every += [_encoded(colours.convert("F").point(lambda value: value / 255), "TIFF")]
    every += [_encoded(colours, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_deflate", "packbits")]
    every += [_encoded(colours, "GIF", save_all=True, append_images=[colours.rotate(90)])]
    return [*every, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(CANARY) (w) file closefile\nshowpage\n"]


def images(_folder: Path) -> Surface:
    corpus = _pictures()

    def run(draw: random.Random) -> None:
        data = mutation.bytes_of(draw, draw.choice(corpus), corpus)
        found = image_files.read(("x.png", data))
        height, width = image_files.size(("x.png", data))
        require(found.shape == (3, height, width), f"{tuple(found.shape)} where the header says {height}x{width}")
        if found.dtype == torch.uint8:
            with Image.open(io.BytesIO(data), formats=image_files.FORMATS) as image:
                right = np.array(ImageOps.exif_transpose(image).convert("RGB"))
            require(np.array_equal(found.permute(1, 2, 0).numpy(), right), "not what Pillow makes of it")
        else:
            require(bool(((found >= 0) & (found <= 1)).all()), "not within [0, 1]")

    return Surface(run)


def masks(_folder: Path) -> Surface:
    values = published.values(1, 3, 255)
    grey, palette = Image.fromarray(values), Image.fromarray(values, "P")
    palette.putpalette([each for i in range(256) for each in (i, 255 - i, 7)])
    corpus = [_encoded(grey, kind) for kind in ("PNG", "TIFF", "BMP", "GIF")]
    corpus += [_encoded(palette, "PNG"), _encoded(palette, "GIF"), _encoded(grey.convert("1"), "PNG")]
    corpus += [_encoded(Image.fromarray(values.astype(np.uint16)), "PNG"), _encoded(grey.convert("RGB"), "PNG")]

    def run(draw: random.Random) -> None:
        data = mutation.bytes_of(draw, draw.choice(corpus), corpus)
        found = image_files.read_mask(("x.png", data))
        require(found.dtype == torch.int64 and found.dim() == 2, f"{found.dtype} {tuple(found.shape)}")
        require(tuple(found.shape) == image_files.size(("x.png", data)), "another size than its header's")
        require(0 <= int(found.min()) <= int(found.max()) < 65536, "classes that no file can hold")

    return Surface(run)


def depth(_folder: Path) -> Surface:
    def saved(array: Any) -> bytes:
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()

    metres = published.metres()
    pngs = [
        _encoded(Image.fromarray((metres * 1000).astype(np.uint16)), "PNG"),
        _encoded(Image.fromarray(metres), "TIFF"),
    ]
    arrays = [saved(metres.astype(kind)) for kind in (np.float32, np.float64, np.float16, np.uint16)]
    arrays += [saved(metres[None]), saved(metres[..., None]), saved(np.zeros(3)), saved(metres.astype(complex))]

    def run(draw: random.Random) -> None:
        corpus, name = draw.choice(((pngs, "x.png"), (arrays, "x.npy")))
        data = mutation.bytes_of(draw, draw.choice(corpus), corpus)
        found = image_files.read_depth((name, data))
        require(found.dtype == torch.float32 and found.dim() == 3 and len(found) == 1, str(tuple(found.shape)))
        valid = image_files.valid_depth(found, 0, 10)
        require(bool(valid.isfinite().all() and (valid >= 0).all() and (valid <= 10).all()), "depth that is no depth")
        if name == "x.npy":
            with np.errstate(over="ignore", invalid="ignore"):
                right = np.load(io.BytesIO(data)).astype(np.float32).reshape(found.shape)
            require(np.array_equal(found.numpy(), right, equal_nan=True), "not what NumPy reads")

    return Surface(run)


# --- weights ----------------------------------------------------------------------------------------------------------


class Payload:
    """A pickle that would leave the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch CANARY",)


def checkpoints(folder: Path) -> Surface:
    state = {"cls_token": torch.rand(1, 1, 4), "blocks.0.norm1.weight": torch.rand(4), "epoch": torch.tensor(3)}

    def saved(content: Any, **settings: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(content, stream, **settings)
        return stream.getvalue()

    corpus = [saved(state), saved({"teacher": state, "args": {"lr": 0.1}}), save(state)]
    corpus += [saved({"state_dict": state, "x": Payload()}), saved([Payload()], _use_new_zipfile_serialization=False)]
    corpus += [saved(state, _use_new_zipfile_serialization=False), b"<!DOCTYPE html><html>404</html>"]
    corpus += [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        _encoded(Image.new("L", (4, 4)), "PNG"),
    ]

    def run(draw: random.Random) -> None:
        path = folder / f"x{draw.choice(('.pth', '.safetensors', '.bin', '.ckpt', '.tar'))}"
        data = draw.choice(corpus)
        path.write_bytes(mutation.bytes_of(draw, data, corpus) if draw.random() < 0.95 else data)
        try:
            weight_files.read(path)
            with suppress(BrittleError):  # none of them holds a whole encoder
                load_encoder(f"file:{path}")
        finally:
            path.unlink()

    return Surface(run)


def cards(folder: Path) -> Surface:
    place = folder / "tuned"
    place.mkdir()
    encoder = load_encoder("embedded:random")
    state = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    weights = save(state)
    (place / "encoder.safetensors").write_bytes(weights)
    (folder / "mine.py").write_text("open('CANARY', 'w')\ndef f():\n    return None\n", encoding="utf8")
    card = {"base": "embedded:random", "sha256": hashlib.sha256(weights).hexdigest(), "method": "deacl", "images": 4}
    card["made_by"] = {"torch": torch.__version__, "list": [1, 2]}
    whole = json.dumps(card).encode()
    bases = [json.dumps({**card, "base": base}).encode() for base in _bases(folder)]
    picture = torch.rand(1, 3, 64, 64)
    right = encoder(picture).pooled

    def run(draw: random.Random) -> None:
        data = mutation.json_of(draw, whole, [whole]) if draw.random() < 0.8 else draw.choice(bases)
        (place / "encoder.json").write_bytes(data)
        found = load_encoder(f"file:{place / 'encoder.safetensors'}")
        require(torch.equal(found(picture).pooled, right), f"other features under {data[:80]!r}")

    return Surface(run)


def _bases(folder: Path) -> list[str]:
    mine = f"py:{folder / 'mine.py'}:f"
    itself = f"file:{folder / 'tuned' / 'encoder.safetensors'}"
    return [
        mine,
        f"file:x(base='{mine}')",
        itself,
        f"{itself}(size=8)",
        "hf:ORG/NAME",
        "timm:hf-hub:ORG/NAME",
        "open_clip:x/y",
    ]


# --- what a run keeps -------------------------------------------------------------------------------------------------


def results(folder: Path) -> Surface:
    root = folder / "run"
    store = Store(root)
    cell = Cell("pixels", "scenes", "classification", "pgd", 8 / 255, "linf", 0, 8, "standard")
    facts = {"name": "classification", "headline": "accuracy", "higher_is_better": True, "attack": "pgd"}
    numbers = {
        "metrics": {"accuracy": 0.5},
        "metrics_uint8": {"accuracy": 0.5},
        "intervals": {"accuracy": (0.25, 0.75)},
    }
    findings = (Finding("budget", "ok", 0.0, "fine"),)
    one = Result(id="a" * 20, cell=cell, task=facts, images=8, findings=findings, made_by={"x": 1}, **numbers)
    failed = Result("b" * 20, replace(cell, seed=1), facts, failed="nonfinite")
    stream = io.BytesIO()
    np.savez_compressed(stream, correct=np.arange(8), ids=np.array(list("abcdefgh")))
    store.put(one, stream.getvalue())
    store.put_failed(failed)
    store.images(one.id).mkdir(parents=True)
    (store.images(one.id) / "x.safetensors").write_bytes(save({"images": torch.rand(2, 3, 2, 2)}))
    store.put_images(one.id, cell)
    store.supersede({each.id: each.cell for each in (one, failed)})
    kept = folder / "kept"
    shutil.copytree(root, kept)
    names = [path.relative_to(kept) for path in sorted(kept.rglob("*")) if path.is_file() and path.suffix != ".lock"]

    def run(draw: random.Random) -> None:
        shutil.rmtree(root)
        shutil.copytree(kept, root)
        path = root / draw.choice(names)
        data = path.read_bytes()
        change = mutation.json_of if path.suffix == ".json" else mutation.bytes_of
        changed = change(draw, data, [data])
        path.write_bytes(changed)
        found = store.results()
        for each in found:
            require(each in (one, failed), f"{path.name} gives another result")
        done = store.done(one.id, "none", keep=True)
        whole = changed == data or _same_json(changed, data)
        of_it = path.parent.name in ("results", "samples", one.id)
        require(whole or not done or not of_it, f"{path.name} was taken for whole")
        require(done or (of_it and not whole), f"{path.name} is whole")

    def _same_json(a: bytes, b: bytes) -> bool:
        try:
            return json.loads(a) == json.loads(b)
        except ValueError:
            return False

    return Surface(run)


def caches(_folder: Path) -> Surface:
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.tensor([True, False])}

    def run(draw: random.Random) -> None:
        key = {"number": draw.randrange(10)}
        cache.get_or_make("features", key, lambda: tensors)
        paths = sorted(Path(os.environ["BRITTLE_CACHE"]).glob("features/*/*.safetensors"))
        path = draw.choice(paths)
        data = path.read_bytes()
        path.write_bytes(mutation.bytes_of(draw, data, [data]))
        for number in range(10):
            found = cache.get_or_make("features", {"number": number}, lambda: tensors)
            require(found.keys() == tensors.keys(), "other names")
            require(all(torch.equal(found[name], tensors[name]) for name in tensors), "other numbers")

    return Surface(run)


# --- data sets --------------------------------------------------------------------------------------------------------


def _walk(spec: str) -> None:
    for split in ("test", "train"):
        data = load_dataset(spec, split)
        places = range(len(data)) if len(data) < 12 else (0, len(data) // 2, len(data) - 1)
        for kind, names in data.classes.items():
            require(len(names) < 10**6, "more classes than there can be")
            for place in places:
                data.glance(place, kind)
        for place in places:
            sample = data[place]
            image = sample.image
            require(image.dim() == 3 and len(image) == 3 and image.dtype in (torch.uint8, torch.float32), "no image")
            for kind, target in sample.targets.items():
                record = STANDARD[kind]
                count = len(data.classes[kind])
                require(target.is_floating_point() == record.dtype.is_floating_point, f"{kind} is {target.dtype}")
                try:
                    record.inspect(record.scored(target, count), image.shape[-2:], count, "x")
                except BrittleError:
                    continue  # which a run says before any work


def _data(names: Sequence[str], ends: Sequence[str]) -> Callable[[Path], Surface]:
    """A surface of published layouts in which one file is changed."""

    def surface(folder: Path) -> Surface:
        made: list[tuple[str, list[Path]]] = []
        for name in names:
            (folder / name).mkdir(parents=True)
            spec = getattr(published, name)(folder / name)
            paths = sorted(
                path for path in (folder / name).rglob("*") if path.is_file() and path.name.endswith(tuple(ends))
            )
            made.append((spec, [path for path in paths if path.stat().st_size < 10**6]))
        made = [(spec, paths) for spec, paths in made if paths]

        def run(draw: random.Random) -> None:
            spec, paths = draw.choice(made)
            path = draw.choice(paths)
            data = path.read_bytes()
            path.write_bytes(mutation.bytes_of(draw, data, [data]))
            try:
                _walk(spec)
            finally:
                path.write_bytes(data)

        return Surface(run)

    return surface


SURFACES: dict[str, Callable[[Path], Surface]] = {
    "specs": specs,
    "plans": plans,
    "images": images,
    "masks": masks,
    "depth": depth,
    "checkpoints": checkpoints,
    "cards": cards,
    "results": results,
    "caches": caches,
    "parquet": _data(["hf_labels", "hf_masks", "hf_depth"], [".parquet"]),
    "mat": _data(["flowers102", "nyu_depth_v2"], [".mat"]),
    "pickles": _data(
        ["cifar10_python", "cifar100_python"], ["batch", "train", "test", *(f"_{i}" for i in range(1, 6))]
    ),
    "binaries": _data(["cifar10_binary", "cifar100_binary", "mnist"], [".bin", "ubyte", ".gz"]),
    "lists": _data(["food101", "ade20k", "voc2012", "foodseg103", "folder_masks"], [".txt", ".csv", ".json"]),
}


def payloads() -> Iterator[Path]:
    """Where a canary would be."""
    yield from Path.cwd().rglob("CANARY*")


__all__ = ["SURFACES", "BrittleError", "WrongError", "payloads"]
