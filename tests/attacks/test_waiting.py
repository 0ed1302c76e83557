"""No step of an attack waits for the device: what it notes is looked at when it pauses."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from tiny import tiny_batch, tiny_model
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from brittle.attacks.parts.run import attacked
from brittle.types import frozen
from brittle.types.attack_log import AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat

CLIMBS = {
    "classification": [
        "pgd",
        "pgd(keep=last)",
        "pgd(keep=score)",
        "apgd",
        "apgd(shrink=true)",
        "apgd(objective=dlr)",
        "padam",
        "fab(targets=1)",
        "square",
        "embed",
        "embed(tokens=cls, distance=cosine)",
    ],
    "segmentation": ["pgd", "segpgd", "cospgd", "apgd(objective=js)", "apgd(objective=masked_ce, keep=score)"],
    "depth": ["pgd", "depthpgd", "apgd(objective=mse, keep=score)", "apgd(objective=silog)", "padam(objective=l1)"],
}
WAITS = {"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__", "is_nonzero"}
WAITS |= {"masked_select", "unique", "equal", "allclose"}


class Waits(TorchFunctionMode):
    """Counts what a GPU would have to be waited for: values that Python asks for, and shapes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITS:
            self.counted[name] += 1
        if name in ("__getitem__", "__setitem__"):
            keys = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(key, Tensor) and key.dtype == torch.bool for key in keys):
                self.counted["mask"] += 1
        return func(*args, **(kwargs or {}))


class Inside(TorchDispatchMode):
    """The same of what torch does by itself."""

    def __init__(self, counted: Counter[str]) -> None:
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select"):
            self.counted[f"aten {name}"] += 1
        return func(*args, **(kwargs or {}))


def waits(task: str, attack: str, steps: int, norm: str) -> Counter[str]:
    """What an attack of so many steps would wait for."""
    name = "queries" if attack.startswith("square") else "steps"
    text = f"{attack[:-1]}, {name}={steps})" if "(" in attack else f"{attack}({name}={steps})"
    model, batch = tiny_model(task), tiny_batch(task)
    threat = Threat(norm, {"linf": 1e-3, "l2": 0.01, "l1": 0.1}[norm])  # type: ignore[arg-type]
    with frozen(model), Waits() as mode, Inside(mode.counted):
        attacked(model, text, batch, threat, Rng(0, batch.ids), precision="fp32", settles=True, log=AttackLog())
    return mode.counted


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(("task", "attack"), [(task, attack) for task, each in CLIMBS.items() for attack in each])
def test_further_steps_do_not_wait(task: str, attack: str, norm: str) -> None:
    """Between 17 and 23 steps, or 44 and 47 of an attack in phases, none pauses."""
    first, second = (44, 47) if attack.startswith("apgd") else (17, 19) if attack == "square" else (17, 23)
    more = waits(task, attack, second, norm) - waits(task, attack, first, norm)
    allowed = {"padam": {"item", "aten _local_scalar_dense"}, "fab": {"equal"}}.get(attack.partition("(")[0], set())
    assert more.keys() <= allowed, "Adam counts its steps on the CPU; FAB's projection ends where nothing more moves"


def test_waits_are_counted() -> None:
    with Waits() as mode, Inside(mode.counted):
        values = torch.rand(4)
        assert values.sum() > 0
        values[values > 0.5] = 0
        (values > 0).nonzero()
        values.sum().item()
    assert mode.counted["__bool__"] >= 1
    assert mode.counted["mask"] == 1
    assert mode.counted["nonzero"] == 1
    assert mode.counted["item"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("task", "attack"), [("classification", "pgd"), ("segmentation", "segpgd"), ("depth", "pgd")])
def test_a_gpu_is_not_waited_for(task: str, attack: str) -> None:
    from brittle.attacks.parts import climb

    model, batch = tiny_model(task).cuda(), tiny_batch(task)
    batch = batch._replace(images=batch.images.cuda(), target=batch.target.cuda())
    at = climb.Climb.at

    def checked(self: Any, images: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return at(self, images, progress)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with frozen(model), pytest.MonkeyPatch.context() as patched:
        patched.setattr(climb.Climb, "at", checked)
        attacked(model, attack, batch, Threat("linf", 0.01), Rng(0, batch.ids), precision="fp32", settles=True)
