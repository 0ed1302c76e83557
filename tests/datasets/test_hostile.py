"""Files made to harm: what would hang, fill the memory or end the process is refused in one line that names it."""

import pickle
import zlib
from pathlib import Path

import numpy as np
import published
import pytest

from brittle.api import load_dataset
from brittle.core.errors import BrittleError, CellError, UsageError
from brittle.datasets.parts import matlab, parquet


@pytest.mark.parametrize("labels", [[0, 2**40], [0, 2**62]])
def test_a_label_makes_no_more_classes_than_there_can_be(tmp_path: Path, labels: list[int]) -> None:
    for split in ("train", "test"):
        published.parquet(tmp_path / f"{split}.parquet", {"image": published.hub_images(2), "label": labels})
    with pytest.raises(UsageError, match=f"train-0000001: label {labels[1]} would make"):
        load_dataset(f"hf:{tmp_path}")
    with pytest.raises(UsageError, match="there can be at most"):
        load_dataset(f"hf:{tmp_path}(classes={labels[1]})")


def _nested(make: object) -> bytes:
    """A pickle of {b"data": x} where x holds itself twice, sixty levels deep."""
    inner: object = 1
    for _ in range(60):
        inner = make(inner)  # type: ignore[operator]
    return pickle.dumps({"data": inner, "labels": inner}, 2)


@pytest.mark.threat("pickle")
@pytest.mark.parametrize("make", [lambda x: [x, x], lambda x: (x, x), lambda x: {"a": x, "b": x}])
def test_a_pickle_nested_in_itself_does_not_hang(tmp_path: Path, make: object) -> None:
    text = published.cifar10_python(tmp_path)
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(_nested(make))
    with pytest.raises(UsageError, match="test_batch"):
        load_dataset(text)


def test_a_key_nested_in_itself_does_not_hang(tmp_path: Path) -> None:
    text = published.cifar10_python(tmp_path)
    twice = b"K\x01" + b"0".join([]) + b"".join(b"q%c0h%ch%c\x86" % (i, i, i) for i in range(60))
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(b"\x80\x02}(" + twice + b"K\x01u.")
    with pytest.raises(UsageError, match="test_batch"):
        load_dataset(text)


@pytest.mark.parametrize("packed", [False, True])
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path: Path, packed: bool) -> None:
    scipy = pytest.importorskip("scipy.io")
    path = tmp_path / "x.mat"
    rows = np.zeros((3, 1), dtype=[("ID", object), ("WNID", object)])
    for i in range(3):
        rows[i, 0] = (float(i + 1), f"n{i:08d}")
    held = {"few": np.array([[7]], np.uint8), "wide": np.array([[1.0, 2.0], [3.0, 4.0]]), "long": np.arange(300)[None]}
    scipy.savemat(path, {**held, "rows": rows, "word": "ab"}, do_compression=packed)
    found = matlab.read(path)
    assert {key: found[key] for key in held} == {key: value.ravel("F").tolist() for key, value in held.items()}
    assert found["rows"] == [{"ID": [float(i + 1)], "WNID": [f"n{i:08d}"]} for i in range(3)]
    assert found["word"] == ["ab"]
    assert matlab.vector(path, "long") == list(range(300))
    with pytest.raises(UsageError, match="no whole numbers 'rows'"):
        matlab.vector(path, "rows")


@pytest.mark.threat("archives")
def test_damaged_matlab_files_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = published.flowers102(tmp_path)
    path = next(tmp_path.rglob("setid.mat"))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = int(rng.integers(0, 256))
        path.write_bytes(damaged[: int(rng.integers(1, len(whole)))] if rng.random() < 0.3 else damaged)
        try:
            load_dataset(text)
        except BrittleError as error:
            assert "\n" not in str(error)  # noqa: PT017 - a changed number may be an image all the same
    monkeypatch.setattr(matlab, "MOST_BYTES", 2**16)
    bomb = zlib.compress(b"\0" * 2**17)
    head = whole[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little")
    path.write_bytes(head + bomb)
    with pytest.raises(UsageError, match=r"setid.mat: is no MATLAB file"):
        load_dataset(text)


def test_a_damaged_footer_ends_no_process(tmp_path: Path) -> None:
    """pyarrow's own reader of it calls abort()."""
    published.hf_labels(tmp_path)
    path = min((tmp_path / "data").glob("test*.parquet"))
    whole = path.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole) - 8 - size, len(whole) - 8))] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            shards = parquet.Shards(tmp_path, [path], ["img", "label"])
            shards.column("label")
            for i in range(len(shards)):
                shards.row(i)
        except BrittleError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


LISTS = [[0, 1], [0, 1]], [[0.5, 1.0], [0.0, 0.0]]
PNG = {"bytes": published.encoded(published.values(0, 1, None)), "path": "x.png"}


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        (PNG, None),
        (PNG, {"bytes": None, "path": "x.png"}),
        (PNG, {"bytes": b"text", "path": "x.png"}),
        *((LISTS[0], wrong) for wrong in (None, [], [[0, 1], [0]], [[0, None], [1, 1]])),
    ],
)
def test_a_mask_that_is_no_mask_is_named_and_can_be_left_out(tmp_path: Path, good: object, wrong: object) -> None:
    for split in ("train", "test"):
        columns = {"image": published.hub_images(3), "mask": [good, wrong, good]}
        published.parquet(tmp_path / f"{split}.parquet", columns)
    data = load_dataset(f"hf:{tmp_path}(task=segmentation, classes=2)")
    with pytest.raises(CellError, match="test-0000001"):
        data.raw(1)
    kept = load_dataset(f"hf:{tmp_path}(task=segmentation, classes=2, skip_unreadable=true)")
    assert (len(kept), kept.left_out) == (2, 1)


def test_shares_of_classes_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        columns = {"image": published.hub_images(2), "mask": [LISTS[1]] * 2}
        published.parquet(tmp_path / f"{split}.parquet", columns)
    with pytest.raises(CellError, match="must be whole numbers"):
        load_dataset(f"hf:{tmp_path}(task=segmentation, classes=2)").raw(0)


@pytest.mark.parametrize("value", [[[1.0, 2.0], [3.0]], [1.0], [], None])
def test_depth_that_is_no_map_is_named_and_can_be_left_out(tmp_path: Path, value: object) -> None:
    good = published.metres().tolist()
    for split in ("train", "test"):
        published.parquet(
            tmp_path / f"{split}.parquet",
            {"image": published.hub_images(3), "depth": [good, value if value != [1.0] else [[1.0], []], good]},
        )
    data = load_dataset(f"hf:{tmp_path}(task=depth)")
    with pytest.raises(CellError, match="test-0000001"):
        data.raw(1)
    assert load_dataset(f"hf:{tmp_path}(task=depth, skip_unreadable=true)").left_out == 1


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x01\x00v\x00{'descr': '<f"]
)
def test_a_damaged_array_is_named_and_can_be_left_out(tmp_path: Path, content: bytes) -> None:
    text = published.folder_depth(tmp_path, ".npy")
    (tmp_path / "depth/test/2.npy").write_bytes(content)
    with pytest.raises(CellError, match=r"2\.npy: cannot be read as a NumPy array"):
        load_dataset(text)[2]
    assert load_dataset(f"{text}(skip_unreadable=true)").left_out == 1


def test_a_damaged_nyu_file_is_one_line_that_names_the_image(tmp_path: Path) -> None:
    import h5py

    spec = published.nyu_depth_v2(tmp_path)
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    with h5py.File(path) as file:
        parts = {key: file[key][:] for key in file}
    with h5py.File(path, "w") as file:
        for key, values in parts.items():
            file.create_dataset(key, data=values, chunks=(1, *values.shape[1:]), compression="gzip")
        offset = file["images"].id.get_chunk_info(11).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 4 : offset + 40] = bytes(36)
    path.write_bytes(content)
    data = load_dataset(spec, "test")
    with pytest.raises(CellError, match=r"nyu_depth_v2_labeled.mat image 12: cannot be read as HDF5"):
        [data[place] for place in range(len(data))]
    (tmp_path / "other").mkdir()
    spec = published.nyu_depth_v2(tmp_path / "other")
    with h5py.File(tmp_path / "other" / path.name, "w") as file:
        for key, values in parts.items():
            file[key] = values.astype("float32")
    with pytest.raises(UsageError, match=r"float32 \(12, 3, 640, 480\)"):
        load_dataset(spec, "test")


def test_what_is_left_out_does_not_hide_what_the_others_hold(tmp_path: Path) -> None:
    text = published.folder_depth(tmp_path, ".npy")
    metres = published.metres()
    metres[0, 0] = np.nan
    np.save(tmp_path / "depth/test/2.npy", metres)
    data = load_dataset(f"{text}(skip_unreadable=true)")
    assert data.raw(2).targets["depth"].isnan().sum() == 1
    assert data.glance(2, "depth")[0] == (32, 48)
