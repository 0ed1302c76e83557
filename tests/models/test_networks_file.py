"""model:file: an encoder with its fitted head, saved and read: the numbers of the two, one line for what is wrong."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import brittle
from brittle.core.errors import MissingError, UsageError
from brittle.planning.identity import weights_of

DATA = "scenes(train=16, val=8, test=8)"
ENCODER = "embedded:random"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    return {
        task: brittle.save_model(folder / f"{task}.safetensors", ENCODER, DATA, task)
        for task in ("classification", "segmentation", "depth")
    }


@pytest.mark.parametrize("task", ["classification", "segmentation", "depth"])
def test_the_numbers_are_those_of_encoder_and_head(task, saved, tmp_path) -> None:
    """Clean, the task's own attack and the one on the encoder alone, to the last bit."""
    how = {"attacks": ["downstream", "embed(steps=3)"], "limit": 4, "checks": "none", "precision": "fp32"}
    apart = brittle.run([ENCODER], [DATA], [task], output_dir=tmp_path / "apart", **how)
    whole = brittle.run([f"model:file:{saved[task]}"], [DATA], [task], output_dir=tmp_path / "whole", **how)
    assert [result.metrics for result in whole] == [result.metrics for result in apart]
    assert len(whole) == 3


def test_it_is_called_as_any_network(saved) -> None:
    network = brittle.load_model(f"file:{saved['depth']}")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert network(images).shape == (2, 1, 64, 64)
    moved = brittle.attack(network, images, torch.ones(2, 1, 64, 64), task="depth", attack="depthpgd(steps=2)")
    assert not torch.equal(moved, images)


def test_identities(saved) -> None:
    names = {weights_of(f"model:file:{path}") for path in saved.values()}
    assert len(names) == 3
    assert weights_of(ENCODER) not in names


def test_one_line(saved, tmp_path) -> None:
    with pytest.raises(MissingError, match="no file .*nowhere.safetensors; write one with brittle.save_model"):
        brittle.load_model(f"file:{tmp_path}/nowhere.safetensors")
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(saved["depth"]), bare)
    with pytest.raises(MissingError, match="no card in"):
        brittle.load_model(f"file:{bare}")
    encoder = tmp_path / "tuned"
    brittle.finetune("deacl(steps=1, batch=2)", ENCODER, DATA, output_dir=encoder, limit=2)
    with pytest.raises(UsageError, match=r"holds no head .*; take -e file: for an encoder"):
        brittle.load_model(f"file:{encoder}/encoder.safetensors")
    whole = saved["depth"].read_bytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(whole.replace(b"embedded:random", b"embedded:deacl@"[:15]))
    with pytest.raises(UsageError):
        brittle.load_model(f"file:{other}")
    with pytest.raises(UsageError, match="has other weights than the head was fitted on"):
        brittle.load_model(f"file:{saved['depth']}(base='embedded:random(seed=1)')")
    with pytest.raises(UsageError, match="has a head of its own; there is none to write"):
        brittle.save_model(tmp_path / "x", f"model:file:{saved['depth']}", DATA, "depth")


def test_a_card_may_not_run_code(saved, tmp_path) -> None:
    """A base of py: is taken only where it was typed."""
    path = tmp_path / "evil.safetensors"
    whole = saved["depth"].read_bytes()
    path.write_bytes(whole.replace(b"embedded:random", b"py:evil.py:make"))
    with pytest.raises(UsageError, match="which a card may not ask for"):
        brittle.load_model(f"file:{path}")
