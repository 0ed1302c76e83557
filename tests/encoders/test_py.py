"""``py:``: a module of one's own, from a file or a module, whatever it returns of pooled and grid features."""

import pytest
import torch

import brittle
import brittle.encoders.py as py
from brittle.core.errors import MissingError, UsageError
from brittle.planning import identity

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 6, 8, stride=8)
    def forward(self, images):
        grid = self.conv(images)
        pooled = grid.mean((2, 3))
        given = {"pair": (pooled, grid), "list": [pooled, grid], "pooled": pooled, "grid": grid, "odd": {"x": pooled}}
        return given[self.kind]

def pair(): return Net("pair")
def as_list(): return Net("list")
def pooled(): return Net("pooled")
def grid(): return Net("grid")
def odd(): return Net("odd")
def number(): return 3

def coloured():
    net = Net("pair")
    net.mean, net.std, net.size, net.licence = (0.5, 0.5, 0.5), (0.1, 0.1, 0.1), 64, "MIT"
    return net

def ours():
    from brittle.types import Encoder, Features
    class Own(Encoder):
        def __init__(self):
            super().__init__(6, 8, size=32, mean=(0.5,) * 3, std=(0.5,) * 3, about={})
            self.net = Net("pair")
        def forward(self, images):
            return Features(*self.net(self.normalise(images)))
    return Own()
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf8")
    return tmp_path / "mine.py"


@pytest.mark.parametrize("name", ["pair", "as_list", "pooled", "grid", "coloured", "ours"])
def test_what_a_module_may_return(name, path) -> None:
    encoder = brittle.load_encoder(f"py:{path}:{name}(size=32)" if name != "ours" else f"py:{path}:{name}")
    images = torch.rand(2, 3, 32, 48, requires_grad=True)
    found = encoder(images)
    assert found.pooled.shape == (2, 6)
    assert found.grid.shape == (2, 6, -(-32 // encoder.patch), -(-48 // encoder.patch))
    (gradient,) = torch.autograd.grad(found.grid.sum(), images)
    assert gradient.abs().sum() > 0
    assert encoder.about["parameters"] == 6 * 3 * 64 + 6
    assert identity.weights_of(f"py:{path}:{name}")
    assert encoder.patch == (32 if name == "pooled" else 8)


def test_mean_and_std_as_tuples_are_applied(path) -> None:
    plain, coloured = brittle.load_encoder(f"py:{path}:pair"), brittle.load_encoder(f"py:{path}:coloured")
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(coloured(images).pooled, plain((images - 0.5) / 0.1).pooled)
    assert (coloured.size, plain.size, coloured.about["licence"]) == (64, 224, "MIT")


def test_odd_sizes_are_padded(path) -> None:
    assert brittle.load_encoder(f"py:{path}:pair")(torch.rand(1, 3, 37, 50)).grid.shape == (1, 6, 5, 7)


def test_by_module_name(path, monkeypatch) -> None:
    path.rename(path.with_name("brittle_test_own_module.py"))
    monkeypatch.chdir(path.parent)
    encoder = brittle.load_encoder("py:brittle_test_own_module.pair")
    assert encoder.about["fingerprint"] == identity.weights_of("py:brittle_test_own_module.pair")


def test_the_fingerprint_follows_the_source(path) -> None:
    text = f"py:{path}:pair"
    first = identity.weights_of(text)
    assert first == identity.weights_of(text) == brittle.load_encoder(text).about["fingerprint"]
    path.write_text(SOURCE.replace("stride=8)", "stride=8, bias=False)"), encoding="utf8")
    assert identity.weights_of(text) not in (first, identity.weights_of(f"{text}(size=64)"))


TWINS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 6, 8, stride=8)
    def forward(self, images):
        grid = self.conv(images)
        return grid.relu() if self.kind == "relu" else grid

def one(): return Net("plain")
def other(): return Net("relu")
"""


def test_what_decides_the_forward_is_part_of_the_fingerprint(tmp_path, monkeypatch) -> None:
    """Two functions of one file with equal weights; and layers that a file imports from another."""
    (tmp_path / "brittle_test_layers.py").write_text(TWINS, encoding="utf8")
    (tmp_path / "own.py").write_text("from brittle_test_layers import one", encoding="utf8")
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = [f"py:{tmp_path}/brittle_test_layers.py:{name}" for name in ("one", "other")]
    about = [brittle.load_encoder(text).about for text in texts]
    assert about[0]["sha256"] == about[1]["sha256"], "equal weights"
    assert about[0]["fingerprint"] != about[1]["fingerprint"]
    text = f"py:{tmp_path}/own.py:one"
    before = identity.weights_of(text)
    assert before == brittle.load_encoder(text).about["fingerprint"]
    (tmp_path / "brittle_test_layers.py").write_text(TWINS.replace("relu()", "tanh()"), encoding="utf8")
    py._own.cache_clear()
    assert identity.weights_of(text) != before


SET = """
from torch import nn

KIND = ""

class Net(nn.Conv2d):
    def forward(self, images):
        return getattr(super().forward(images), KIND)()

def one():
    global KIND
    KIND = "relu"
    return Net(3, 6, 8, stride=8)

def other():
    global KIND
    KIND = "tanh"
    return Net(3, 6, 8, stride=8)
"""


def test_the_name_of_the_function_is_part_of_the_fingerprint(tmp_path) -> None:
    """What it sets outside its module cannot be seen."""
    (tmp_path / "own.py").write_text(SET, encoding="utf8")
    found = [identity.weights_of(f"py:{tmp_path}/own.py:{name}(size=32)") for name in ("one", "other")]
    assert found[0] != found[1]


HELD = """
import functools, os, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, act=None):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 6, 8, stride=8), act
    def forward(self, images):
        return self.act(self.conv(images)) if self.act else self.conv(images)

K = float(os.environ["BRITTLE_TEST_K"])

def scaled(k):
    return lambda grid: grid * k

def power(grid, k=K):
    return grid * k

def closure(): return Net(scaled(K))
def default(): return Net(power)
def partial(): return Net(functools.partial(power, k=K))
def attribute():
    net = Net()
    net.k = {"at": [K]}
    net.act = lambda grid: grid * net.k["at"][0]
    return net
def buffer():
    net = Net()
    net.register_buffer("k", torch.tensor(K), persistent=False)
    net.act = lambda grid: grid * net.k
    return net
def hook():
    net = Net()
    net.register_forward_hook(lambda module, inputs, output, k=K: output * k)
    return net
"""


@pytest.mark.parametrize("name", ["closure", "default", "partial", "attribute", "buffer", "hook"])
def test_values_that_decide_the_forward_are_part_of_the_fingerprint(name, tmp_path, monkeypatch) -> None:
    """One function of one file with equal weights, whose layers hold another value in another process."""
    found = []
    for k in ("1", "2", "2"):
        monkeypatch.setenv("BRITTLE_TEST_K", k)
        path = tmp_path / f"run{len(found)}" / "own.py"
        path.parent.mkdir()
        path.write_text(HELD, encoding="utf8")
        about = brittle.load_encoder(f"py:{path}:{name}(size=32)").about
        assert about["fingerprint"] == identity.weights_of(f"py:{path}:{name}(size=32)")
        found.append(about)
    assert len({about["sha256"] for about in found}) == 1
    assert found[0]["fingerprint"] != found[1]["fingerprint"] == found[2]["fingerprint"]


@pytest.mark.parametrize("line", ["from {helper} import act", "import {helper}", "    from {helper} import act"])
def test_functions_of_another_file_are_part_of_the_fingerprint(line, tmp_path, monkeypatch) -> None:
    """Also of a file that only the forward pass imports."""
    helper = f"brittle_test_helper_{len(line)}"
    (tmp_path / f"{helper}.py").write_text("def act(grid):\n    return grid.relu()\n", encoding="utf8")
    inside, call = line.startswith(" "), "act" if "from" in line else f"{helper}.act"
    above, within = (
        ("", f"    {line.format(helper=helper)}") if inside else (line.format(helper=helper), "        pass")
    )
    source = (
        f"{above}\nfrom torch import nn\nclass Net(nn.Conv2d):\n    def forward(self, images):\n{within}\n"
        f"        return {call}(super().forward(images))\ndef f():\n    return Net(3, 6, 8, stride=8)\n"
    )
    (tmp_path / "own.py").write_text(source, encoding="utf8")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = f"py:{tmp_path}/own.py:f(size=32)"
    before = identity.weights_of(text)
    assert before == brittle.load_encoder(text).about["fingerprint"]
    (tmp_path / f"{helper}.py").write_text("def act(grid):\n    return grid.tanh()\n", encoding="utf8")
    py._own.cache_clear()
    assert identity.weights_of(text) != before


def test_a_module_is_given_images_of_its_own_size_as_they_are(tmp_path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\ndef f():\n    return nn.Conv2d(3, 6, 8, stride=8)\n", encoding="utf8"
    )
    encoder = brittle.load_encoder(f"py:{tmp_path}/own.py:f(size=30)")
    assert encoder(torch.rand(1, 3, 30, 30)).grid.shape == (1, 6, 3, 3)


def test_refusals(path) -> None:
    for text, kind, why in [
        (f"py:{path}:absent", MissingError, "has no function 'absent'"),
        (f"py:{path.parent}/absent.py:pair", MissingError, "no file"),
        ("py:no_such_module_here.pair", MissingError, "no module 'no_such_module_here'"),
        ("py:pair", UsageError, "names no function"),
        (f"py:{path}:number", UsageError, "returned int"),
        (f"py:{path}:odd", UsageError, r"returned \['dict'\]; it must be pooled"),
    ]:
        with pytest.raises(kind, match=why):
            brittle.load_encoder(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f():\n    raise SystemError('x\\ny')", r"SystemError: x y \(.*odd näme.py, line 2\); fix it"),
        ("import no_such_package_here\ndef f(): ...", "ModuleNotFoundError: .*odd näme.py, line 1"),
        ("def f(:", "SyntaxError"),
        ("assert False", "AssertionError"),
        ("\0", "SyntaxError|ValueError"),
    ],
)
def test_what_stops_in_the_users_file_is_one_line(tmp_path, text, words) -> None:
    (tmp_path / "odd näme.py").write_text(text, encoding="utf8")
    for ask in (brittle.load_encoder, identity.weights_of):
        with pytest.raises(UsageError, match=words) as error:
            ask(f"py:{tmp_path}/odd näme.py:f")
        assert "\n" not in str(error.value)
