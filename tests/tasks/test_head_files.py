"""Heads as DINOv2's authors publish them: what they predict, by an independent reading of their formulas, and what is
refused; and heads on four layers."""

from collections.abc import Sequence
from pathlib import Path

import published
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from brittle.api import running
from brittle.core import components
from brittle.core.errors import MissingError, UsageError
from brittle.core.records import Cell
from brittle.encoders.parts.timm_network import TimmEncoder
from brittle.evaluation import probe
from brittle.planning.identity import resolve
from brittle.tasks.depth import Depth
from brittle.tasks.parts.head_choice import quarters
from brittle.tasks.segmentation import Segmentation
from brittle.types import Encoder, Model, Task

DIM, PATCH, CLASSES = 12, 14, 21
VIT = "timm:vit_tiny_patch16_224(pretrained=false, size=32)"  # 192 wide, 12 layers
LAYERS = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}  # of DINOv2's S and B, L, g


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def segmentation_weights(width: int, classes: int = CLASSES) -> dict[str, Tensor]:
    return {
        "conv_seg.weight": random(classes, width, 1, 1),
        "conv_seg.bias": random(classes, seed=1),
        "bn.weight": random(width, seed=2),
        "bn.bias": random(width, seed=3),
        "bn.running_mean": random(width, seed=4),
        "bn.running_var": random(width, seed=5).abs() + 0.1,
        "bn.num_batches_tracked": torch.tensor(40000),
    }


def depth_weights(width: int) -> dict[str, Tensor]:
    return {"conv_depth.weight": random(256, width, 1, 1), "conv_depth.bias": random(256, seed=1)}


def written(path: Path, weights: dict[str, Tensor]) -> str:
    """A file as mmcv saves it: below ``state_dict``, with a note on how it was made, and another head beside it."""
    state = {f"decode_head.{name}": value for name, value in weights.items()}
    state["auxiliary_head.conv_seg.weight"] = random(3, 5, 1, 1)
    torch.save({"meta": {"CLASSES": ["a", "b"], "PALETTE": [[0, 0, 0]], "seed": 0}, "state_dict": state}, path)
    return f"file:{path}"


def encoder_of(depth: int = 12) -> Encoder:
    network = VisionTransformer(
        img_size=28, patch_size=PATCH, embed_dim=DIM, depth=depth, num_heads=2, num_classes=0, dynamic_img_size=True
    )
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return TimmEncoder(network, PATCH, size=28, mean=(0.5,) * 3, std=(0.25,) * 3, about={"source": "made"}).double()


def blocks_of(encoder: Encoder, images: Tensor, layers: Sequence[int], *, norm: bool) -> list[tuple[Tensor, Tensor]]:
    """(patches [B,D,h,w], class token [B,D]) that the network's own blocks return."""
    network = encoder.network
    seen: dict[int, Tensor] = {}
    handles = [
        network.blocks[i].register_forward_hook(lambda _module, _inputs, out, i=i: seen.update({i: out}))
        for i in layers
    ]
    network((images - 0.5) / 0.25)
    for handle in handles:
        handle.remove()
    tokens = [network.norm(seen[i]) if norm else seen[i] for i in layers]
    rows, columns = (edge // PATCH for edge in images.shape[2:])
    return [(each[:, 1:].mT.reshape(len(images), DIM, rows, columns), each[:, 0]) for each in tokens]


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    return nn.functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def reference_logits(encoder: Encoder, images: Tensor, layers: Sequence[int], weights: dict[str, Tensor]) -> Tensor:
    """Patches of the layers after the final norm side by side, standardised, a linear map of each, up to the image."""
    w = {name: value.double() for name, value in weights.items()}
    maps = torch.cat([patches for patches, _ in blocks_of(encoder, images, layers, norm=True)], 1).movedim(1, -1)
    maps = (maps - w["bn.running_mean"]) / (w["bn.running_var"] + 1e-5).sqrt() * w["bn.weight"] + w["bn.bias"]
    scores = maps @ w["conv_seg.weight"][:, :, 0, 0].T + w["conv_seg.bias"]
    return enlarged(scores.movedim(-1, 1), images.shape[2:])


def reference_depth(
    encoder: Encoder, images: Tensor, layers: Sequence[int], weights: dict[str, Tensor], high: float
) -> Tensor:
    """Patches and class token of each layer in turn before the final norm, four times finer, bins with weights of
    ReLU + 0.1, their mean, up to the image."""
    w = {name: value.double() for name, value in weights.items()}
    parts = blocks_of(encoder, images, layers, norm=False)
    both = [torch.cat([patches, token[:, :, None, None].expand_as(patches)], 1) for patches, token in parts]
    fine = torch.cat([enlarged(each, [4 * edge for edge in each.shape[2:]]) for each in both], 1).movedim(1, -1)
    shares = (fine @ w["conv_depth.weight"][:, :, 0, 0].T + w["conv_depth.bias"]).clamp(min=0) + 0.1
    shares = shares / shares.sum(-1, keepdim=True)
    bins = 0.001 + (high - 0.001) * torch.arange(256).double() / 255
    return enlarged((shares @ bins)[:, None].clamp(0.001, high), images.shape[2:])


def predicted(task: Task, encoder: Encoder, images: Tensor, outputs: int = CLASSES) -> Tensor:
    head = task.head_read(encoder, outputs).double()
    return Model(task, head, encoder, look=task.look_on(encoder)).eval()(images)


@pytest.mark.parametrize("layers", [1, 4])
@torch.no_grad()
def test_logits_are_those_of_the_published_formula(layers: int, tmp_path: Path) -> None:
    encoder, images = encoder_of().eval(), random(2, 3, 42, 56).double().sigmoid()
    weights = segmentation_weights(layers * DIM)
    task = components.build("tasks", f"segmentation(head={written(tmp_path / 'head.pth', weights)})")
    wanted = reference_logits(encoder, images, range(12 - layers, 12), weights)
    found = predicted(task, encoder, images)
    assert found.shape == (2, CLASSES, 42, 56)
    assert (found - wanted).abs().max() < 1e-5 * wanted.std()


@pytest.mark.parametrize("layers", [1, 4])
@torch.no_grad()
def test_logits_of_images_are_those_of_the_published_formula(layers: int, tmp_path: Path) -> None:
    """A bare state of a linear map of the class tokens and the mean of the last layer's patches."""
    encoder, images = encoder_of().eval(), random(2, 3, 28, 28).double().sigmoid()
    weights = {"weight": random(1000, (layers + 1) * DIM), "bias": random(1000, seed=1)}
    torch.save(weights, tmp_path / "head.pth")
    task = components.build("tasks", f"classification(head=file:{tmp_path / 'head.pth'})")
    parts = blocks_of(encoder, images, range(12 - layers, 12), norm=True)
    read = torch.cat([*(token for _, token in parts), parts[-1][0].mean((2, 3))], 1)
    wanted = read @ weights["weight"].double().T + weights["bias"].double()
    found = predicted(task, encoder, images, 1000)
    assert (found - wanted).abs().max() < 1e-5 * wanted.std()
    assert task.reads == ("pooled", "grid")
    with pytest.raises(UsageError, match="predicts 1000 classes or bins, 10 are wanted"):
        task.head_read(encoder, 10)


@pytest.mark.parametrize("high", [10, 80])
@pytest.mark.parametrize(("layers", "depth"), [(1, 12), (4, 12), (4, 24)])
@torch.no_grad()
def test_metres_are_those_of_the_published_formula(layers: int, depth: int, high: float, tmp_path: Path) -> None:
    encoder, images = encoder_of(depth).eval(), random(2, 3, 42, 56).double().sigmoid()
    weights = depth_weights(layers * 2 * DIM)
    text = f"depth(max_depth={high}, head={written(tmp_path / 'head.pth', weights)})"
    wanted = reference_depth(encoder, images, LAYERS[depth] if layers == 4 else [depth - 1], weights, high)
    found = predicted(components.build("tasks", text), encoder, images)
    assert found.shape == (2, 1, 42, 56)
    assert wanted.std() > 1e-3 * high
    assert (found - wanted).abs().max() < 1e-5
    fitted = Depth(0.001, high).head(layers * DIM, 0)
    assert set(fitted.state_dict()) == {"weigh.weight", "weigh.bias"}, "heads fitted before are read as they were"


def test_layers_are_those_of_the_published_heads() -> None:
    assert {depth: tuple(quarters(depth)) for depth in LAYERS} == LAYERS


def test_an_attack_gets_a_gradient_through_a_published_head(tmp_path: Path) -> None:
    encoder, images = encoder_of().eval(), random(1, 3, 28, 28).double().sigmoid().requires_grad_()
    task = Depth(0.001, 10, written(tmp_path / "head.pth", depth_weights(8 * DIM)))
    task.loss(predicted(task, encoder, images), torch.full((1, 1, 28, 28), 3.0).double()).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("place", ["", "decode_head.", "module.decode_head."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_other_wrappings_and_safetensors_hold_the_same_head(place: str, wrapped: bool, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = segmentation_weights(DIM)
    state = {f"{place}{name}": value for name, value in weights.items() if "tracked" not in name}
    state[f"{place}conv_seg.weight"] = weights["conv_seg.weight"].reshape(CLASSES, DIM, *(1, 1) * wrapped).contiguous()
    if wrapped:
        torch.save({"state_dict": state}, tmp_path / "head.pth")
    else:
        save_file(state, tmp_path / "head.pth")
    head = Segmentation(f"file:{tmp_path / 'head.pth'}").head_read(encoder_of(), CLASSES)
    assert torch.equal(head.state_dict()["classify.weight"], weights["conv_seg.weight"])
    assert torch.equal(head.state_dict()["norm.running_var"], weights["bn.running_var"])


def test_what_is_no_such_head_is_refused_in_one_line(tmp_path: Path) -> None:
    good = segmentation_weights(DIM)
    cases = {
        "conv_depth": depth_weights(2 * DIM),
        "do not go together": {**good, "bn.weight": random(DIM + 1)},
        "do not go together (": {**good, "conv_seg.weight": random(CLASSES, DIM, 1)},
        "nan or inf": {**good, "bn.bias": torch.full((DIM,), torch.nan)},
        "is no head of this task": {"conv_seg.weight": good["conv_seg.weight"]},
    }
    for number, (said, weights) in enumerate(cases.items()):
        text = written(tmp_path / f"{number}.pth", weights)
        with pytest.raises(UsageError) as error:
            components.build("tasks", f"segmentation(head={text})")
        assert said in str(error.value)
        assert f"{number}.pth" in str(error.value)
        assert "\n" not in str(error.value)
    dpt = {"conv_depth.head.0.weight": random(8, 8, 3, 3), "convs.0.conv.weight": random(8, 8, 1, 1)}
    with pytest.raises(UsageError, match="is no head of this task"):
        Depth(0.001, 10, written(tmp_path / "dpt.pth", dpt))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "0.pth").read_bytes()[:100])
    with pytest.raises(UsageError, match=r"cut\.pth: is no checkpoint"):
        Segmentation(f"file:{tmp_path / 'cut.pth'}")
    torch.save({"state_dict": good, "run": nn.Linear(2, 2)}, tmp_path / "code.pth")
    with pytest.raises(UsageError, match="could run code"):
        Segmentation(f"file:{tmp_path / 'code.pth'}")
    with pytest.raises(MissingError, match="absent"):
        Segmentation("file:absent.pth")
    for word in ("lin", "file", "", "ms4"):
        with pytest.raises(UsageError, match="there is linear, ms, and file:PATH"):
            components.build("tasks", f'depth(head="{word}")')


@pytest.mark.parametrize(
    ("task", "weights", "said"),
    [
        ("segmentation", segmentation_weights(384), "reads 384 features; .* has 192 of one layer, 768 of 4"),
        ("segmentation", segmentation_weights(48), "take its own head"),
        ("segmentation", segmentation_weights(192, 150), "predicts 150 classes or bins, 10 are wanted"),
        ("classification", {"weight": random(10, 192), "bias": random(10)}, "reads 192 features; .* has 384 of one"),
        ("depth", depth_weights(192), "reads 192 features; .* has 384 of one layer, 1536 of 4"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_before_any_work(
    task: str, weights: dict[str, Tensor], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brittle.launch.parts.cell.measure", None)
    text = written(tmp_path / "head.pth", weights)
    with pytest.raises(UsageError, match=said):
        running.run(
            [VIT],
            ["scenes(train=8, val=4, test=4, size=32)"],
            ["classification", f"{task}(head={text})"],
            attacks=["noise"],
            output_dir=tmp_path / "run",
        )


def test_an_encoder_of_fewer_layers_has_no_head_on_four(tmp_path: Path) -> None:
    text = written(tmp_path / "head.pth", segmentation_weights(4 * DIM))
    for head in (text, "ms"):
        with pytest.raises(UsageError, match="made has 3 layers; this head reads 4"):
            Segmentation(head).look_on(encoder_of(3))
    with pytest.raises(UsageError, match="0 layers"):
        Depth(0.001, 10, "ms").look_on(components.build("encoders", "pixels(size=8)"))


def test_a_published_head_needs_no_training_images_and_fits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = published.voc2012(tmp_path / "data")
    (tmp_path / "data/VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").unlink()
    monkeypatch.setattr(probe, "fit", None)
    (tmp_path / "a folder").mkdir()
    path = tmp_path / "a folder/head.pth"
    written(path, segmentation_weights(192))

    def measured() -> list[float]:
        results = running.run(
            [VIT],
            [data],
            [f'segmentation(head="file:{path}")'],
            attacks=["segpgd(steps=1)"],
            limit=2,
            output_dir=tmp_path / "run",
            checks="none",
        )
        assert [result.failed for result in results] == [None, None]
        assert "train_images" not in results[0].made_by
        shas.add(results[0].made_by["head_sha256"])
        return [result.metrics["aacc"] for result in results]

    shas: set[str] = set()
    before = measured()
    cell = Cell(VIT, data, f'segmentation(head="file:{path}")', None, None, None, 0, 2, "standard")
    name = resolve(cell).id
    weights = segmentation_weights(192)
    weights["conv_seg.bias"] = 1e4 * (torch.arange(CLASSES) == 15).float()
    written(path, weights)
    from brittle.planning import identity

    identity.task_of.cache_clear()
    assert resolve(cell).id != name, "the file's content is part of the identity"
    after = measured()
    assert before != after
    assert len(shas) == 2


def test_heads_on_four_layers_are_fitted_and_attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STANDARD", probe.Recipe(rates=(1e-3,), steps=4, epochs=0))
    results = running.run(
        [VIT],
        ["scenes(train=16, val=8, test=4, size=32)"],
        ["segmentation(head=ms)", "depth(head=ms)", "depth"],
        attacks=["embed(steps=1)"],
        output_dir=tmp_path / "run",
        checks="none",
    )
    assert [result.failed for result in results] == [None] * 6
    climbed = {result.cell.task: result.made_by["climbs"] for result in results if result.cell.attack}
    assert climbed["segmentation(head=ms)"] == "grid of layers -4, -3, -2, -1 after the final norm"
    assert climbed["depth(head=ms)"] == "pooled and grid of layers 2, 5, 8, 11 before the final norm"
    assert all(result.made_by["train_images"] == 16 for result in results)
