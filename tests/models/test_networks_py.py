"""model:py: what a function gives decides the task, and whatever is wrong with a network is one line, or right."""

import pytest
import torch

import brittle
from brittle.attacks.parts.image_store import ImageStore
from brittle.core.errors import BrittleError, CellError, UsageError
from brittle.planning.identity import weights_of

DATA = "scenes(train=8, val=8, test=8)"
HEADER = """
import torch
from torch import nn
from torch.nn.functional import avg_pool2d


def masks(images, outputs=10):
    steps = torch.linspace(0, 1, outputs).view(1, -1, 1, 1)
    return -40 * (images.mean(1, keepdim=True) - steps) ** 2


"""


def written(folder, code: str) -> str:
    path = folder / "mine.py"
    path.write_text(HEADER + code)
    return f"model:py:{path}"


def run(folder, code: str, *, task: str = "segmentation", settings: str = "", **more):
    text = f"{written(folder, code)}:network{settings}"
    how = {"attacks": ["downstream"], "limit": 4, "checks": "none", "output_dir": folder / "run", **more}
    return brittle.run([text], [DATA], [task], **how)


def failure(folder, code: str, **more) -> str:
    """The one line of a run that cannot be."""
    try:
        results = run(folder, code, **more)
    except BrittleError as error:
        line = str(error)
    else:
        (line,) = {str(result.failed) for result in results}
    assert line != "None"
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("code", "task"),
    [
        ("def network(images):\n    return masks(images)", "segmentation"),
        ("def network():\n    return lambda images: masks(images, 8).mean((2, 3))", "classification"),
        ("def network(images):\n    return 1 + 2 * images.mean(1, keepdim=True)", "depth"),
        ("def network(images):\n    return {'out': 1 + 2 * images.mean(1)}", "depth"),
        ("class Net(nn.Conv2d):\n    size = 64\ndef network():\n    return Net(3, 10, 1)", "segmentation"),
    ],
    ids=["masks", "labels", "depth", "mapping", "module"],
)
def test_what_it_gives_is_its_task(code, task, tmp_path) -> None:
    clean, attacked = run(tmp_path, code, task=task)
    assert (clean.failed, attacked.failed) == (None, None)
    assert clean.cell.task == task


def test_the_same_images_as_through_python(tmp_path) -> None:
    """A run keeps what ``brittle.attack`` gives."""
    code = "def network(images):\n    return masks(images)"
    run(tmp_path, code, attacks=["segpgd(steps=3)"], keep_adversarial=True, limit=8)
    (folder,) = (tmp_path / "run" / "adversarial").iterdir()
    data = brittle.load_dataset(DATA, "test")
    network = brittle.load_model(f"{written(tmp_path, code)}:network")
    names, samples = list(data.ids), [data[place] for place in range(8)]
    kept = ImageStore(folder).get(names)
    assert kept is not None
    images = torch.stack([sample.image.float() / 255 for sample in samples])
    target = torch.stack([sample.targets["mask"] for sample in samples])
    again = brittle.attack(network, images, target, attack="segpgd(steps=3)", task="segmentation", ids=names)
    assert torch.equal(again, kept["images"])


def test_wrong_task(tmp_path) -> None:
    line = failure(tmp_path, "def network(images):\n    return masks(images)", task="depth")
    assert "the network predicts classes per pixel, depth is metres per pixel" in line


def test_missing_class_map(tmp_path) -> None:
    line = failure(tmp_path, "def network(images):\n    return masks(images, 21)")
    assert line.endswith("first one is with first=1")
    assert "has 21 outputs, and 10 classes is wanted" in line


def test_logits_with_a_void_channel(tmp_path) -> None:
    """The last of eleven is void: refused, until the user says where the classes begin."""
    code = "def network(images):\n    return masks(images, 11)"
    assert "has 11 outputs, and 10 classes is wanted" in failure(tmp_path, code)
    clean, _ = run(tmp_path, code, settings="(first=0)")
    whole = brittle.load_model(f"{written(tmp_path, code)}:network(first=0)")
    assert clean.failed is None
    assert "outputs 0 to 9 of the network" in clean.made_by["protocol"]
    assert whole(torch.rand(1, 3, 8, 8)).shape[1] == 11


def test_tuple_outputs(tmp_path) -> None:
    line = failure(tmp_path, "def network(images):\n    return masks(images), masks(images)")
    assert line.endswith("gives a tuple for one image; return logits [B,C], logits [B,C,H,W] or depth [B,1,H,W]")


def test_half_weights(tmp_path) -> None:
    code = "def network():\n    torch.manual_seed(0)\n    return nn.Conv2d(3, 10, 1).half()"
    clean, _ = run(tmp_path, code)
    assert clean.failed is None
    whole = brittle.load_model(f"{written(tmp_path, code)}:network")
    assert {weight.dtype for weight in whole.parameters()} == {torch.float32}


def test_wrong_channel_order(tmp_path) -> None:
    code = "def network(images):\n    return masks(images[:, :1])"
    images = torch.rand(1, 3, 8, 8)
    red, blue = (
        brittle.load_model(f"{written(tmp_path, code)}:network{order}")(images) for order in ("", "(channels=bgr)")
    )
    mirrored = brittle.load_model(f"{written(tmp_path, code)}:network")(images.flip(1))
    assert torch.equal(blue, mirrored)
    assert not torch.equal(red, blue)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("images.detach()", "detach"),
        ("torch.from_numpy(images.detach().numpy())", "detach"),
        ("(255 * images).to(torch.uint8).float() / 255", "to"),
        ("images.ge(0.5).float()", "ge"),
    ],
)
def test_no_gradient(step, name, tmp_path) -> None:
    line = failure(tmp_path, f"def network(images):\n    return masks({step})")
    assert f"its gradient ends at {name}; hand over what it computes before that step" in line


def test_an_argmax_inside(tmp_path) -> None:
    line = failure(tmp_path, "def network(images):\n    return masks(images).argmax(1)")
    assert "classes that are chosen already pass no gradient on; return what is before the argmax" in line


def test_no_grad_inside(tmp_path) -> None:
    line = failure(tmp_path, "@torch.no_grad()\ndef network(images):\n    return masks(images)")
    assert "its gradient ends" in line


def test_fixed_batch_size(tmp_path) -> None:
    code = "def network(images):\n    return masks(images.reshape(1, 3, 64, 64))"
    settings = "(size=64)"
    assert "stops at torch.float32 images [4, 3, 64, 64]" in failure(tmp_path, code, settings=settings)
    results = run(tmp_path, code, settings=settings, batch_size=1, output_dir=tmp_path / "single")
    assert [result.failed for result in results] == [None, None]


def test_wrong_depth_unit(tmp_path) -> None:
    """Millimetres: said, and right with the scale."""
    code = "def network(images):\n    return 1000 * (1 + 2 * images.mean(1))"
    clean, _ = run(tmp_path, code, task="depth")
    (found,) = (finding for finding in clean.findings if finding.name == "unit")
    assert (found.verdict, found.value) == ("warn", pytest.approx(1000, rel=0.5))
    right, _ = run(tmp_path, code, task="depth", settings="(scale=0.001)", output_dir=tmp_path / "scaled")
    assert not [finding for finding in right.findings if finding.name == "unit"]
    assert right.metrics["rmse"] < 2 < 100 < clean.metrics["rmse"]


def test_output_smaller_than_the_image(tmp_path) -> None:
    code = "def network(images):\n    return masks(avg_pool2d(images, 4))"
    clean, attacked = run(tmp_path, code)
    assert (clean.failed, attacked.failed) == (None, None)
    windowed, _ = run(tmp_path, code, settings="(window=32)", output_dir=tmp_path / "windows")
    assert windowed.failed is None
    assert "windows 32 / 22" in windowed.made_by["protocol"]


def test_a_network_that_stops(tmp_path) -> None:
    line = failure(tmp_path, "def network(images):\n    raise KeyError('weights')")
    assert "KeyError: 'weights'" in line
    assert "mine.py, line" in line


def test_what_is_no_network(tmp_path) -> None:
    assert "returned a int; it must return a torch.nn.Module" in failure(tmp_path, "def network():\n    return 3")
    assert "gives [1, 3, 224, 224]" not in failure(tmp_path, "network = torch.relu", task="classification")
    assert "has no function 'network'" in failure(tmp_path, "def other():\n    return 3")
    with pytest.raises(UsageError, match="no model 'pie'; there is embedded, file, hf"):
        brittle.run(["model:pie:x"], [DATA])
    with pytest.raises(UsageError, match="'model' needs one of models; write model:NAME:ARGUMENT"):
        brittle.run(["model"], [DATA])


def test_an_encoder_is_asked_for_and_a_network_given(tmp_path) -> None:
    text = f"{written(tmp_path, 'def network(images): return masks(images)')}:network"
    with pytest.raises(UsageError, match=r"is a whole network, not an encoder; use brittle.load_model"):
        brittle.load_encoder(text)
    with pytest.raises(UsageError, match=r"is a whole network, not an encoder"):
        brittle.finetune("deacl(steps=1)", text, DATA, output_dir=tmp_path / "tuned")


def test_an_attack_on_the_encoder_needs_one(tmp_path, capsys) -> None:
    code = "def network():\n    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 10, 1))"
    results = run(tmp_path, code, attacks=["embed(steps=2)", "segpgd(steps=2)"])
    assert [result.cell.attack for result in results] == [None, "segpgd(steps=2)"]
    said = capsys.readouterr()
    assert "it follows an encoder, and none is known in this network; say features=MODULE" in said.out + said.err
    more = {"settings": "(features='0')", "attacks": ["embed(steps=2)"], "output_dir": tmp_path / "named"}
    assert [result.failed for result in run(tmp_path, code, **more)] == [None, None]


def test_another_code_is_another_identity(tmp_path) -> None:
    text = f"{written(tmp_path, 'def network(images): return masks(images)')}:network"
    first = weights_of(text)
    assert weights_of(f"{text}(first=0)") != first
    written(tmp_path, "def network(images): return masks(2 * images)")
    assert weights_of(text) != first


def test_python_objects(tmp_path) -> None:
    network = brittle.load_model(f"{written(tmp_path, 'def network(images): return masks(images)')}:network")
    results = brittle.run(
        [network], [DATA], ["segmentation"], ["segpgd(steps=2)"], limit=2, output_dir=tmp_path / "run"
    )
    assert [result.failed for result in results] == [None, None]
    with pytest.raises(UsageError, match="predicts classes per pixel, task 'depth' is metres per pixel"):
        brittle.attack(network, torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8), task="depth")
    with pytest.raises(CellError, match="none reaches the pixels"):
        brittle.attack(
            lambda x: network(x).detach(), torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8).long(), task="segmentation"
        )
