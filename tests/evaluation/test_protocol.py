"""From a sample to what the encoder sees, and the batches it comes in."""

import time
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from brittle.core.errors import UsageError
from brittle.evaluation import loading, protocol
from brittle.evaluation.machine import Machine
from brittle.planning import identity
from brittle.types import Batch, DatasetDefaults, Sample, Task
from brittle.types.target import VOID


class Few(DatasetDefaults):
    """A data set of the samples given."""

    licence, fingerprint = "", ""

    def __init__(self, samples: Sequence[Sample], classes: int = 3) -> None:
        self.samples, self.ids = samples, [f"image {i}" for i in range(len(samples))]
        names = [str(i) for i in range(classes)]
        self.classes: Mapping[str, Sequence[str]] = {"label": names, "mask": names, "depth": ()}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self.samples[index]


def _sample(height: int, width: int, value: int | None = None, **targets: Tensor) -> Sample:
    image = (
        torch.randint(256, (3, height, width), dtype=torch.uint8)
        if value is None
        else torch.full((3, height, width), value, dtype=torch.uint8)
    )
    full = {
        "label": torch.tensor(0),
        "mask": torch.zeros(height, width, dtype=torch.long),
        "depth": torch.ones(1, height, width),
    }
    return Sample(image, {**full, **targets})


CLASSIFY, SEGMENT, DEPTH = (identity.task_of(name) for name in ("classification", "segmentation", "depth"))


def rule(task: Task, size: int) -> protocol.Protocol:
    """The standard one of a data set that says nothing of its own."""
    return protocol.standard("scenes", task, size)


@pytest.mark.fault("F13")
@pytest.mark.parametrize(("height", "width"), [(28, 28), (64, 64), (100, 50), (50, 101), (1, 1), (5, 200)])
def test_classification_takes_the_centre_square(height: int, width: int) -> None:
    image, label = protocol.preprocess(_sample(height, width), CLASSIFY.target, rule(CLASSIFY, 32))
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert label == 0


def test_the_square_is_the_centre() -> None:
    sample = _sample(8, 24, 0)
    sample.image[:, :, 8:16] = 255
    image, _ = protocol.preprocess(sample, CLASSIFY.target, rule(CLASSIFY, 8))
    assert (image == 1).all()


def test_dense_targets_keep_their_size_and_images_their_shape() -> None:
    image, mask = protocol.preprocess(_sample(20, 40), SEGMENT.target, rule(SEGMENT, 16))
    assert image.shape == (3, 16, 32)
    assert mask.shape == (20, 40)


def test_a_image_of_the_right_size_is_left_alone() -> None:
    sample = _sample(16, 16)
    assert torch.equal(protocol.preprocess(sample, CLASSIFY.target, rule(CLASSIFY, 16))[0], sample.image.float() / 255)


def test_enlarging_stays_in_the_box() -> None:
    sample = _sample(28, 28)
    sample.image[:] = (torch.arange(28) % 2 * 255).to(torch.uint8)  # the sharpest stripes: bicubic overshoots
    image, _ = protocol.preprocess(sample, CLASSIFY.target, rule(CLASSIFY, 64))
    assert image.shape == (3, 64, 64)
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.max() > 0.9


@pytest.mark.fault("F07", "F08")
@pytest.mark.parametrize(
    ("task", "targets", "words"),
    [
        (CLASSIFY, {"label": torch.tensor(3)}, "label 3"),
        (CLASSIFY, {"label": torch.tensor(-1)}, "label -1"),
        (CLASSIFY, {"label": torch.tensor(65535)}, "label 65535"),
        (CLASSIFY, {"label": torch.tensor(255)}, "label 255"),
        (SEGMENT, {"mask": torch.full((8, 8), 3)}, "mask 3"),
        (SEGMENT, {"mask": torch.full((8, 8), -1)}, "mask -1"),
        (SEGMENT, {"mask": torch.full((8, 8), 65535)}, "mask 65535"),
        (SEGMENT, {"mask": torch.zeros(8, 9, dtype=torch.long)}, "8x8 and 8x9"),
        (DEPTH, {"depth": torch.ones(1, 7, 8)}, "8x8 and 7x8"),
    ],
)
def test_a_target_that_does_not_fit_is_refused_by_name(task: object, targets: dict[str, Tensor], words: str) -> None:
    data = Few([_sample(8, 8), _sample(8, 8, **targets)])
    with pytest.raises(UsageError) as error:
        list(loading.batches(data, range(2), task, rule(task, 8), Machine(batch_size=2)))  # type: ignore[arg-type]
    assert "image 1" in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("task", "targets", "words"),
    [
        (CLASSIFY, {"label": torch.tensor(3)}, "label 3"),
        (SEGMENT, {"mask": torch.full((8, 8), 3)}, "mask 3"),
        (SEGMENT, {"mask": torch.zeros(8, 9, dtype=torch.long)}, "8x8 and 8x9"),
        (DEPTH, {"depth": torch.ones(1, 7, 8)}, "8x8 and 7x8"),
    ],
)
def test_all_targets_can_be_looked_at_beforehand(task: Task, targets: dict[str, Tensor], words: str) -> None:
    data = Few([_sample(8, 8)] * 4 + [_sample(8, 8, **targets)])
    loading.inspect_targets(data, range(4), task)
    with pytest.raises(UsageError, match=rf"image 4.*{words}"):
        loading.inspect_targets(data, range(5), task)


def test_looking_at_targets_decodes_no_image_where_there_is_a_glance() -> None:
    class Quick(Few):
        def __getitem__(self, index: int, /) -> Sample:
            raise AssertionError("the image was read")

        def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
            return self.samples[index].image.shape[1:], self.samples[index].targets[kind]

    for task in (CLASSIFY, SEGMENT, DEPTH):
        loading.inspect_targets(Quick([_sample(8, 8), _sample(4, 6)]), range(2), task)
    with pytest.raises(UsageError, match="mask 9"):
        loading.inspect_targets(Quick([_sample(8, 8), _sample(8, 8, mask=torch.full((8, 8), 9))]), range(2), SEGMENT)


def test_void_is_no_class_and_no_error() -> None:
    data = Few([_sample(8, 8, mask=torch.full((8, 8), 255))])
    (batch,) = loading.batches(data, range(1), SEGMENT, rule(SEGMENT, 8), Machine(batch_size=1))
    assert (batch.target == VOID).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_order_and_names(workers: int) -> None:
    data = Few([_sample(8, 8, i, label=torch.tensor(i % 3)) for i in range(10)])
    order = [7, 3, 9, 0, 1, 2, 8]
    found = list(loading.batches(data, order, CLASSIFY, rule(CLASSIFY, 8), Machine(batch_size=3, workers=workers)))
    assert [len(batch.images) for batch in found] == [3, 3, 1]
    assert [name for batch in found for name in batch.ids] == [f"image {i}" for i in order]
    assert torch.cat([batch.images[:, 0, 0, 0] for batch in found]).mul(255).round().tolist() == order
    assert torch.cat([batch.target for batch in found]).tolist() == [i % 3 for i in order]


def test_images_of_unequal_shape_share_no_batch_and_keep_their_order() -> None:
    data = Few([_sample(*size) for size in ((8, 8), (8, 8), (8, 16), (8, 8))])
    found = list(loading.batches(data, range(4), SEGMENT, rule(SEGMENT, 8), Machine(batch_size=4)))
    assert [(len(batch.images), batch.images.shape[3]) for batch in found] == [(2, 8), (1, 16), (1, 8)]
    assert [name for batch in found for name in batch.ids] == data.ids


def test_larger_images_share_a_batch_with_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody says how many: the same number of pixels at once, one image at least, 64 at most."""
    monkeypatch.setattr(loading, "PIXELS", 4 * 8 * 8)
    monkeypatch.setattr(loading, "AT_ONCE", 6)

    def sizes(height: int, width: int, count: int = 9, batch_size: int = 0) -> list[int]:
        data = Few([_sample(height, width)] * count)
        return [
            len(batch.images)
            for batch in loading.batches(
                data, range(count), SEGMENT, rule(SEGMENT, height), Machine(batch_size=batch_size)
            )
        ]

    assert sizes(8, 8) == [4, 4, 1]
    assert sizes(8, 16) == [2, 2, 2, 2, 1]
    assert sizes(32, 32, 3) == [1, 1, 1]
    assert sizes(4, 4) == [6, 3]
    assert sizes(32, 32, 3, batch_size=2) == [2, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_read_when_their_turn_comes(workers: int) -> None:
    """64 of Cityscapes' images and masks would be gigabytes."""
    read: list[int] = []

    class Noting(Few):
        def __getitem__(self, index: int, /) -> Sample:
            read.append(index)
            return self.samples[index]

    data = Noting([_sample(8, 8)] * 20)
    made = loading.batches(data, range(20), CLASSIFY, rule(CLASSIFY, 8), Machine(batch_size=3, workers=workers))
    next(made)
    assert 3 <= len(read) <= (6 if workers else 3), "at most a batch ahead; threads may not have come to it yet"
    until = time.monotonic() + 60
    while workers and len(read) < 6 and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(read) == list(range(6 if workers else 3)), "while the first batch is attacked the next one is read"
    made.close()  # type: ignore[attr-defined]
    assert len(read) <= 6


@pytest.mark.parametrize("workers", [0, 3])
def test_an_image_that_cannot_be_read_ends_its_own_batch(workers: int) -> None:
    class Broken(Few):
        def __getitem__(self, index: int, /) -> Sample:
            if index == 4:
                raise OSError("broken")
            return self.samples[index]

    data = Broken([_sample(8, 8)] * 20)
    made = loading.batches(data, range(20), CLASSIFY, rule(CLASSIFY, 8), Machine(batch_size=2, workers=workers))
    assert [len(next(made).images) for _ in range(2)] == [2, 2]
    with pytest.raises(OSError, match="broken"):
        next(made)


def test_each_data_set_may_have_its_own_rule() -> None:
    """Cityscapes is seen at full resolution in windows, NYU Depth v2 whole, everything else with its shorter edge at
    the encoder's."""
    city, nyu = protocol.standard("cityscapes:x", SEGMENT, 518), protocol.standard("nyu_depth_v2:x", DEPTH, 518)
    assert (city.resize, city.window, city.stride) == ("none", 518, 346)
    assert (nyu.resize, nyu.window) == ("none", 0)
    assert protocol.standard("voc2012:x", SEGMENT, 224).window == 224
    image, _ = protocol.preprocess(_sample(40, 80), SEGMENT.target, protocol.Protocol(16, resize="none"))
    assert image.shape == (3, 40, 80)
    assert len({rule.describe() for rule in (city, nyu)}) == 2


def test_what_lies_outside_the_valid_part_is_void() -> None:
    rule = protocol.Protocol(16, valid=(2, 10, 3, 12))
    _, mask = protocol.preprocess(_sample(16, 16), SEGMENT.target, rule)
    _, depth = protocol.preprocess(_sample(16, 16), DEPTH.target, rule)
    assert (mask[2:10, 3:12] == 0).all()
    assert (mask != VOID).sum() == 72 == (depth > 0).sum()


def test_windows_carry_their_part_of_the_target() -> None:
    """A marked pixel stays where it is in the image, also where the target has another resolution."""
    images, mask = torch.zeros(1, 3, 16, 40), torch.zeros(1, 32, 80, dtype=torch.long)
    images[..., 9, 31], mask[:, 18:20, 62:64] = 1, 2
    seen = 0
    for part in protocol.windows_of(Batch(images, mask, ["a"]), protocol.Protocol(16, window=16, stride=10)):
        assert part.images.shape[-2:] == part.target.shape[-2:] == (16, 16)
        assert torch.equal(part.images[:, 0] == 1, part.target == 2)
        seen += int((part.target == 2).sum())
    assert seen == 1 + (seen == 2)
    (whole,) = protocol.windows_of(Batch(images, torch.zeros(1), ["a"]), protocol.Protocol(16, crop=True))
    assert whole.images.shape == images.shape
