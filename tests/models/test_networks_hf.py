"""model:hf: thirteen architectures over three tasks, saved and read: what transformers itself predicts for images of
odd sizes, gradients at the pixels, and a run."""

import json
from pathlib import Path

import pytest
import saved
import torch
from PIL import Image

import brittle
from brittle.attacks.parts.image_store import ImageStore
from brittle.core import components
from brittle.core.errors import BrittleError, MissingError, UsageError
from brittle.planning.identity import predicts, weights_of

T = saved.T


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hub")


def spec(name: str, folder: Path, settings: str = "") -> str:
    path = folder / name
    return f"model:hf:{path if path.exists() else saved.saved(name, folder)}{settings}"


def images(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


def auto(name: str):
    if name in saved.LABELS:
        return T.AutoModelForImageClassification
    if name in saved.DEPTHS:
        return T.AutoModelForDepthEstimation
    return T.AutoModelForUniversalSegmentation if name in saved.QUERIES else T.AutoModelForSemanticSegmentation


@torch.no_grad()
def by_library(name: str, path: Path, given: torch.Tensor) -> torch.Tensor:
    """What transformers reads from its own processor and model: logits, masks of classes, or depth."""
    network, processor = auto(name).from_pretrained(path).eval(), T.AutoImageProcessor.from_pretrained(path)
    prepared = processor(images=list(given * 255), return_tensors="pt")
    outputs = network(pixel_values=prepared["pixel_values"])
    if "patch_offsets" in prepared:
        outputs.patch_offsets = prepared["patch_offsets"]
    sizes = [tuple(given.shape[-2:])] * len(given)
    if name in saved.LABELS:
        return outputs.logits
    if name in saved.MASKS:
        return torch.stack(processor.post_process_semantic_segmentation(outputs, target_sizes=sizes))
    more = {"source_sizes": sizes} if name == "zoedepth" else {}
    found = processor.post_process_depth_estimation(outputs, target_sizes=sizes, **more)
    return torch.stack([each["predicted_depth"] for each in found])[:, None]


@pytest.mark.parametrize("name", saved.EVERY)
@pytest.mark.parametrize("size", [(75, 101), (63, 50)])
def test_the_prediction_is_that_of_the_library(name, size, folder) -> None:
    text = spec(name, folder, "(at=image)")
    network, given = components.build("encoders", text), images(*size)
    with torch.no_grad():
        found = network(given)
    right = by_library(name, folder / name, given)
    if name in saved.MASKS:
        found = torch.nn.functional.interpolate(found, size=size, mode="bilinear", align_corners=False)
        top = found.topk(2, 1).values
        sure = (top[:, 0] - top[:, 1]) > 1e-4
        assert sure.float().mean() > 0.9
        assert torch.equal(found.argmax(1)[sure], right[sure])
    else:
        assert found.shape == right.shape
        assert (found - right).abs().max() <= 1e-5 * right.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", [name for name in saved.MASKS if name not in saved.QUERIES])
def test_logits_of_masks_are_those_of_the_library(name, folder) -> None:
    network, given = components.build("encoders", spec(name, folder)), images(75, 101)
    path = folder / name
    processor = T.AutoImageProcessor.from_pretrained(path)
    with torch.no_grad():
        pixels = processor(images=list(given * 255), return_tensors="pt")["pixel_values"]
        right = auto(name).from_pretrained(path).eval()(pixel_values=pixels).logits
        assert (network(given) - right).abs().max() <= 1e-5 * right.abs().max()


@torch.no_grad()
def test_what_a_processor_fills_up_is_cut_off(folder, tmp_path) -> None:
    """EoMT for panoptic maps: the longer edge at the network's size, the rest of the square empty."""
    network, processor = saved.eomt()
    processor.do_split_image, processor.do_pad = False, True
    processor.size = {"shortest_edge": 64, "longest_edge": 64}
    for part in (network.eval(), processor):
        part.save_pretrained(tmp_path / "padded")
    given = images(75, 101)
    prepared = processor(images=list(given * 255), return_tensors="pt")["pixel_values"]
    empty = (prepared == prepared[0, :, -1, -1].view(3, 1, 1)).all(-1).all(0).all(0)
    rows = int((~empty).sum())
    assert 47 <= rows <= 48  # 64 * 75 / 101 is 47.5
    outputs = network(pixel_values=prepared)
    masks = torch.nn.functional.interpolate(outputs.masks_queries_logits, size=(64, 64), mode="bilinear").sigmoid()
    shares = outputs.class_queries_logits.softmax(-1)[..., :-1].transpose(1, 2)
    seen = (shares @ masks[..., :rows, :].flatten(2)).unflatten(2, (rows, 64))
    right = torch.nn.functional.interpolate(seen, size=(75, 101), mode="bilinear")
    found = components.build("encoders", f"model:hf:{tmp_path / 'padded'}")(given).exp()
    assert found.shape == right.shape
    assert (found - right).abs().max() < 1e-5


def test_maps_of_images_that_are_filled_up_are_refused_where_nobody_cuts_them(folder, tmp_path) -> None:
    network, _ = saved.segformer()
    network.save_pretrained(tmp_path / "padded")
    options = {"keep_aspect_ratio": True, "do_pad": True, "size_divisor": 64}
    processor = T.DPTImageProcessor(size={"height": 64, "width": 64}, **options)
    processor.save_pretrained(tmp_path / "padded")
    network = components.build("encoders", f"model:hf:{tmp_path / 'padded'}")
    with pytest.raises(UsageError, match="DPTImageProcessor pads images to .*; set do_pad to false"):
        network(images(75, 101))


def test_a_photograph_through_the_pipeline_of_the_library(folder) -> None:
    """Pixels of 8 bits, which transformers rounds once more after resizing, in its own pipeline from a file on."""
    text = spec("vit", folder, "(at=image)")
    picture = (images(75, 101)[0] * 255).round().to(torch.uint8)
    smooth = torch.nn.functional.avg_pool2d(picture[None].float(), 9, 1, 4)[0].round().to(torch.uint8)
    pipe = T.pipeline("image-classification", model=str(folder / "vit"), top_k=None)
    right = {each["label"]: each["score"] for each in pipe(Image.fromarray(smooth.permute(1, 2, 0).numpy()))}
    network = brittle.load_model(text)
    with torch.no_grad():
        found = network(smooth[None].float() / 255).softmax(1)[0]
    shares = dict(zip(network.classes, found.tolist()))
    assert {name: shares[name] for name in right} == pytest.approx(right, abs=0.02)


@pytest.mark.parametrize("name", saved.EVERY)
def test_a_gradient_reaches_every_image(name, folder) -> None:
    network = components.build("encoders", spec(name, folder, "(at=image)"))
    given = images(75, 101).requires_grad_()
    (gradient,) = torch.autograd.grad(network(given).square().sum(), given)
    assert gradient.isfinite().all()
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()
    network.require_gradient(given.detach())


@pytest.mark.parametrize("name", saved.EVERY)
def test_what_it_says_of_itself(name, folder) -> None:
    text = spec(name, folder)
    network = components.build("encoders", text)
    assert network.about["fingerprint"] == weights_of(text)
    assert network.predicts == predicts(text)
    assert components.canonical("encoders", text) == text
    if name in saved.WITHOUT:
        assert network.encoder is None
        return
    assert network.encoder is not None
    edge = network.size or 64
    found = network.encoder(images(edge, edge))
    assert found.pooled.shape[1] == found.grid.shape[1] == network.encoder.dim


def test_weights_are_read_in_float32(folder, tmp_path) -> None:
    path = folder / "vit" if (folder / "vit").exists() else saved.saved("vit", folder)
    network = T.ViTForImageClassification.from_pretrained(path)
    network.half().save_pretrained(tmp_path / "half")
    T.AutoImageProcessor.from_pretrained(path).save_pretrained(tmp_path / "half")
    half = brittle.load_model(f"hf:{tmp_path / 'half'}")
    assert {weight.dtype for weight in half.parameters()} == {torch.float32}
    whole = brittle.load_model(f"hf:{path}")
    with torch.no_grad():
        assert (half(images(32, 32)) - whole(images(32, 32))).abs().max() < 0.02


def test_other_weights_and_settings_are_another_identity(folder, tmp_path) -> None:
    text = spec("segformer", folder)
    assert (
        len({weights_of(f"{text}{more}") for more in ("", "(size=48)", "(at=input)", "(window=32)", "(first=0)")}) == 5
    )
    network, processor = saved.segformer()
    network.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    assert weights_of(f"model:hf:{tmp_path / 'other'}") != weights_of(text)


def test_colours_in_the_order_that_the_processor_says(tmp_path) -> None:
    """A network that takes blue, green, red."""
    network, _ = saved.vit()
    network.save_pretrained(tmp_path / "bgr")
    T.MobileViTImageProcessor(size={"shortest_edge": 32}, do_center_crop=False).save_pretrained(tmp_path / "bgr")
    given = images(32, 32)
    with torch.no_grad():
        found = brittle.load_model(f"hf:{tmp_path / 'bgr'}(at=image)")(given)
        assert (found - network.eval()(pixel_values=given.flip(1)).logits).abs().max() < 1e-5


def broken(name: str, folder: Path, target: Path, **changes) -> str:
    """A copy of a saved network with another config.json, or preprocessor_config.json for keys in capitals."""
    source = Path(spec(name, folder).removeprefix("model:hf:"))
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for file, upper in (("config.json", False), ("preprocessor_config.json", True)):
        content = json.loads((target / file).read_text())
        given = {key.lower(): value for key, value in changes.items() if key.isupper() == upper}
        content |= given
        (target / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return f"hf:{target}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["ViTModel"]}, "was saved as ViTModel; give a network for image classification"),
        ({"architectures": None}, "does not say what it was saved as"),
        ({"model_type": "marvel", "auto_map": {"AutoModel": "x.Y"}}, "its own code, which is not run"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; at most"),
        ({"hidden_size": 48}, "do not load as ViTForImageClassification"),
        ({"num_hidden_layers": 3}, "16 unexpected"),
        ({"SIZE": {"height": 10**7, "width": 32}}, "height is 10000000; at most"),
        ({"IMAGE_PROCESSOR_TYPE": "NoSuchProcessor"}, "makes no image processor"),
        ({"IMAGE_MEAN": [0.5]}, "must be 3 numbers each"),
    ],
    ids=["encoder", "nameless", "own-code", "huge", "misfit", "fewer-layers", "huge-images", "processor", "colours"],
)
def test_what_cannot_be_read_is_one_line(changes, words, folder, tmp_path) -> None:
    text = broken("vit", folder, tmp_path / "broken", **changes)
    with pytest.raises(BrittleError) as error:
        brittle.load_model(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_processor(folder, tmp_path) -> None:
    text = broken("vit", folder, tmp_path / "bare")
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    with pytest.raises(MissingError, match="no preprocessor_config.json; save its image processor there"):
        brittle.load_model(text)


def test_depth_of_a_type_that_nobody_knows(folder, tmp_path) -> None:
    text = broken("depth_anything", folder, tmp_path / "odd", depth_estimation_type=None)
    raw = json.loads((tmp_path / "odd" / "config.json").read_text())
    assert brittle.load_model(text).unit == "inverse"  # as its class has it where nothing is said
    assert brittle.load_model(f"{text}(depth=relative)").unit == "relative"
    assert raw["model_type"] == "depth_anything"


def test_a_backbone_is_not_fetched(folder, tmp_path) -> None:
    """A configuration may ask for the weights of a backbone from the hub; those of the network are there."""
    text = broken("upernet", folder, tmp_path / "asks", use_pretrained_backbone=True)
    given = images(64, 64)
    whole = brittle.load_model(spec("upernet", folder).removeprefix("model:"))
    with torch.no_grad():
        assert torch.equal(brittle.load_model(text)(given), whole(given))


def test_an_encoder_by_its_module(folder) -> None:
    text = spec("segformer", folder)
    inner = brittle.load_model(f"{text.removeprefix('model:')}(features=segformer.stages.0)").encoder
    assert inner is not None
    assert inner.dim == 8
    with pytest.raises(UsageError, match="has no module 'nowhere'; it has segformer"):
        brittle.load_model(f"{text.removeprefix('model:')}(features=nowhere)")


@pytest.mark.parametrize("names", [saved.LABELS, saved.MASKS, saved.DEPTHS], ids=["labels", "masks", "depths"])
def test_a_run_ends_with_rows(names, folder, tmp_path) -> None:
    """Clean, the task's own attack and its ensemble, of every architecture."""
    ensemble = {
        "vit": "worst(attacks=['apgd(steps=2)', 'pgd(steps=2)'])",
        "segformer": "sea(steps=1, attacks=[])",
        "dpt": "worst(attacks=['apgd(objective=l1, steps=2, keep=score)', 'depthpgd(steps=2)'])",
    }[next(iter(names))]
    own = {"vit": "pgd(steps=2)", "segformer": "segpgd(steps=2)", "dpt": "depthpgd(steps=2)"}[next(iter(names))]
    results = brittle.run(
        [spec(name, folder) for name in names],
        ["scenes(train=8, val=8, test=8)"],
        attacks=[own, ensemble, "embed(steps=2)"],
        limit=4,
        checks="none",
        output_dir=tmp_path / "run",
    )
    assert len(results) == sum(3 if name in saved.WITHOUT else 4 for name in names)
    assert [result.failed for result in results] == [None] * len(results)
    for result in results:
        assert "train_images" not in result.made_by
        assert result.cost["forwards"] > 0
    for name in names:
        own_rows = [result for result in results if result.cell.encoder.rpartition("/")[2] == name]
        clean, _, worst, *moved = (result.metrics[result.task["headline"]] for result in own_rows)
        assert len(moved) == (name not in saved.WITHOUT)
        if names is not saved.MASKS:  # an untrained network gains mIoU by chance
            assert worst >= clean if names is saved.DEPTHS else worst <= clean


def test_the_protocol_of_sea(folder, tmp_path) -> None:
    """Clean, SegPGD and SEA as published on a network of its kind, per image; through Python the same images."""
    text, data = spec("upernet", folder), "scenes(train=8, val=8, test=4)"
    attacks = ["segpgd(steps=4)", "sea(steps=3, attacks=[])"]
    how = {"checks": "none", "keep_adversarial": True, "output_dir": tmp_path / "run", "precision": "fp32"}
    clean, *attacked = brittle.run([text], [data], ["segmentation"], attacks, **how)
    assert clean.metrics["miou_images"] >= 0
    network, test = brittle.load_model(text.removeprefix("model:")), brittle.load_dataset(data, "test")
    samples, names = [test[i] for i in range(4)], list(test.ids)
    pixels = torch.stack([sample.image.float() / 255 for sample in samples])
    masks = torch.stack([sample.targets["mask"] for sample in samples])
    task = components.build("tasks", "segmentation")
    damage = []
    for attack, result in zip(attacks, attacked):
        again = brittle.attack(network, pixels, masks, attack=attack, task="segmentation", ids=names)
        kept = ImageStore(tmp_path / "run" / "adversarial" / result.id).get(names)
        assert kept is not None
        assert torch.equal(again, kept["images"])
        with torch.no_grad():
            damage.append(task.damage(task.score(network(again), masks)))
    single = brittle.attack(
        network,
        pixels,
        masks,
        attack="apgd(objective=js, steps=3, shrink=true, keep=score)",
        task="segmentation",
        ids=names,
    )
    with torch.no_grad():
        member = task.damage(task.score(network(single), masks))
    assert (damage[1] >= member - 1e-6).all()  # its strongest member on every image
