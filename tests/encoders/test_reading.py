"""Files of weights: what is none is called what it is, shards and numbers of numpy are read, and none fills the
memory."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from made import prefixed, saved, vit
from safetensors.torch import save_file

import brittle
from brittle.core.errors import MissingError, UsageError
from brittle.planning import identity

TINY = {"width": 192, "patch": 16, "side": 14}


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "x")
    return stream.getvalue()


NONE = {
    "empty": (b"", "it is empty"),
    "text": (b"404: not found\n", "it is text ('404: not found')"),
    "a page": (b"\xef\xbb\xbf\n<!DOCTYPE HTML><html>", "it is an HTML or XML page, such as a server's error"),
    "xml": (b"<?xml version='1.0'?><Error/>", "it is an HTML or XML page"),
    "json": (b'{"error": "gated"}', 'it is text (\'{"error": "gated"}\')'),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(90), "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(90), "a JPEG image"),
    "zip": (zipped("model/readme.txt"), "a zip archive of model/readme.txt; unpack it"),
    "npz": (zipped("weight.npy"), "a zip archive of weight.npy"),
    "gzip": (b"\x1f\x8b\x08" + bytes(90), "a gzip archive; unpack it"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
    "utf8 text": ("détail ".encode() * 200, "it is text"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt", ".bin"])
@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_checkpoint_is_called_what_it_is(kind, suffix, tmp_path) -> None:
    content, words = NONE[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    for spec in (f"file:{path}", f"timm:test_vit(checkpoint='{path}')"):
        with pytest.raises(UsageError) as caught:
            brittle.load_encoder(spec)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_contents_count_not_suffixes(tmp_path) -> None:
    save_file(vit(**TINY), tmp_path / "dino.pth")
    torch.save(vit(**TINY), tmp_path / "dino.safetensors")
    one, two = (brittle.load_encoder(f"file:{tmp_path}/dino{suffix}") for suffix in (".pth", ".safetensors"))
    assert torch.equal(one.network.pos_embed, two.network.pos_embed)


def sharded(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    keys = sorted(state)
    names = {key: f"model-0000{1 + (i > 70)}-of-00002.safetensors" for i, key in enumerate(keys)}
    for name in sorted(set(names.values())):
        save_file({key: state[key] for key in keys if names[key] == name}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}), encoding="utf8")
    return index


def test_shards_are_one_checkpoint(tmp_path) -> None:
    index = sharded(tmp_path, vit(**TINY))
    whole = brittle.load_encoder(saved(tmp_path / "..", "whole.pth", vit(**TINY)))
    for text in (f"file:{index}", f"file:{tmp_path}"):
        encoder = brittle.load_encoder(text)
        assert torch.equal(encoder.network.pos_embed, whole.network.pos_embed)
        assert encoder.about["fingerprint"] == identity.weights_of(text)
    before = identity.weights_of(f"file:{index}")
    sharded(tmp_path, vit(**TINY, seed=1))
    assert identity.weights_of(f"file:{index}") != before
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingError, match="model-00002-of-00002"):
        brittle.load_encoder(f"file:{index}")


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": {"a": "../../etc/passwd"}}', '{"weight_map": {"a": 3}}']
)
def test_an_index_that_is_none(content, tmp_path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(content, encoding="utf8")
    with pytest.raises(UsageError, match="is no index of shards"):
        brittle.load_encoder(f"file:{path}")


def test_shards_of_transformers(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=32, patch_size=8)).eval()
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    encoder = brittle.load_encoder(f"hf:{tmp_path}")
    with torch.no_grad():
        wanted = model(pixel_values=encoder.normalise(torch.full((1, 3, 32, 32), 0.3))).last_hidden_state[:, 0]
        torch.testing.assert_close(encoder(torch.full((1, 3, 32, 32), 0.3)).pooled, wanted)


def test_numbers_of_numpy_are_plain_data(tmp_path) -> None:
    beside = {"loss": np.float64(0.5), "epoch": np.int64(3), "best": np.bool_(True), "rate": np.float32(1e-3)}
    assert brittle.load_encoder(saved(tmp_path, "dino.pth", {"teacher": vit(**TINY), **beside})).dim == 192


def test_arrays_and_classes_of_numpy_are_not(tmp_path) -> None:
    for name, value in {"object": np.array([{}], dtype=object), "vectorize": np.vectorize(abs)}.items():
        with pytest.raises(UsageError, match="could run code"):
            brittle.load_encoder(saved(tmp_path, f"{name}.pth", {"teacher": vit(**TINY, depth=1), "beside": value}))


@pytest.mark.threat("archives")
def test_tensors_that_would_fill_the_memory(tmp_path) -> None:
    spread = torch.zeros(1, dtype=torch.half).expand(10**12)
    with pytest.raises(UsageError, match=r"its tensors take \d+ bytes, the file has"):
        brittle.load_encoder(saved(tmp_path, "spread.pth", {**vit(**TINY, depth=1), "norm.bias": spread}))
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**27))
    with pytest.raises(UsageError, match="it unpacks to"):
        brittle.load_encoder(f"file:{packed}")


def test_part_is_the_whole_key_before_a_part_of_one(tmp_path) -> None:
    states = {"model": vit(**TINY), "model_ema": vit(**TINY, seed=1)}
    text = saved(tmp_path, "both.pth", states)
    with pytest.raises(UsageError, match=r"several encoders in it \(model:, model_ema:\); choose one with part="):
        brittle.load_encoder(f"{text}(arch=dino_vitt16)")
    for part, state in states.items():
        encoder = brittle.load_encoder(f"{text}(arch=dino_vitt16, part={part})")
        assert torch.equal(encoder.network.pos_embed, state["pos_embed"])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_teacher_beside_its_student(prefix, tmp_path) -> None:
    """As DINOv2 saves a training run: one dictionary with both."""
    student, teacher = vit(**TINY, seed=1), vit(**TINY)
    heads = {f"{prefix}{who}.dino_head.mlp.0.weight": torch.zeros(2) for who in ("student", "teacher")}
    both = {
        **prefixed(f"{prefix}student.backbone.", student),
        **prefixed(f"{prefix}teacher.backbone.", teacher),
        **heads,
    }
    text = saved(tmp_path, "model_0.rank_0.pth", {"model": both, "iteration": 9})
    found = brittle.load_encoder(f"{text}(arch=dino_vitt16)")
    assert torch.equal(found.network.pos_embed, teacher["pos_embed"])
    asked = brittle.load_encoder(f"{text}(arch=dino_vitt16, part=student)")
    assert torch.equal(asked.network.pos_embed, student["pos_embed"])


def test_it_is_said_what_a_file_was_read_as(tmp_path, capfd) -> None:
    text = saved(tmp_path, "dino.pth", vit(**TINY))
    for _ in range(2):
        brittle.load_encoder(text)
    (line,) = capfd.readouterr().err.splitlines()
    for words in (
        "dino.pth is read as dino_vitt16",
        "mean 0.485 0.456 0.406",
        "std 0.229",
        "timm:NAME(checkpoint=FILE)",
    ):
        assert words in line


@pytest.mark.parametrize(
    "settings", ["mean=[nan, 0, 0]", "std=[0, 1, 1]", "std=[-1, 1, 1]", "size=9999", "mean=[1, 2]"]
)
def test_odd_values_of_its_options(settings, tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        brittle.load_encoder(f"{saved(tmp_path, 'dino.pth', vit(**TINY))}({settings})")
    assert "\n" not in str(caught.value)
