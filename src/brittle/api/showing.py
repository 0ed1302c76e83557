"""One picture file attacked without a label: what happens to an encoder's features, in drawings and words."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from brittle.api import attacking
from brittle.api.loading import encoder_in
from brittle.core import budget, components
from brittle.core.errors import MissingError, UsageError
from brittle.core.pictures import Exhibit
from brittle.core.tree import tree
from brittle.evaluation import drawing, heads, loading
from brittle.evaluation.machine import Machine
from brittle.evaluation.protocol import Protocol, preprocess
from brittle.planning.identity import dataset_of, task_of, weights_of
from brittle.planning.sweep import expanded
from brittle.types import Dataset, Encoder, Features, Model, Sample, frozen, image_files
from brittle.types.data import as_float

TASK = "classification"  # whose head reads the pooled feature
SCENES, COMPARED, NEAREST = "scenes", 256, 4


def attacked(path: Path, encoder: str, attack: str = "embed", eps: str | None = None) -> Exhibit:
    """A picture before and after an attack in linf that looks at no label and no head: how far its features move, and
    which scenes of the embedded data are nearest to it.

    Args:
        path: of an image file; its middle square is taken, at the encoder's own size.
        encoder, attack: specs.
        eps: budget in pixel units, 8/255 if None.

    Raises:
        MissingError: there is no such file.
        CellError: it cannot be read as an image.
        UsageError: the attack needs more than a picture, or a spec makes no sense.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name one picture in it")
    if not path.exists():
        raise MissingError(f"no picture {path}")
    attack = _checked(attack)
    size = budget.check_eps(budget.default_eps("linf") if eps is None else eps, "linf")
    texts = expanded(encoder, "encoders")
    if len(texts) != 1:
        raise UsageError(f"{encoder} stands for {len(texts)} encoders; name one")
    network = encoder_in(texts[0])
    rule = Protocol(network.size, crop=True)
    clean = preprocess(Sample(_square(image_files.read(path)), {}), None, rule)[0][None]
    changed = attacking.attack(network, clean, attack=attack, eps=size, ids=[path.name])
    model = Model(task_of(TASK), None, network)
    with frozen(model), torch.no_grad():
        before, after = network(clean), network(changed)
        tokens = drawing.tokens(model, clean, changed)
        data = dataset_of(SCENES, "train")
        scenes = _scenes(data, network, weights_of(texts[0]), rule)
    change, factor = drawing.change(clean[0], changed[0])
    drawings = [
        ("the picture", drawing.photograph(clean[0])),
        ("the picture, attacked", drawing.photograph(changed[0])),
        (f"the perturbation ×{factor}", change),
        *zip(("patch tokens", "patch tokens, attacked"), tokens),
    ]
    edge = network.size
    words = (
        f"{path.name}: {attack} {budget.eps_text(size)} linf on {texts[0]}",
        f"the middle square at {edge}x{edge} pixels; tokens in three principal components, one basis",
        f"the pooled feature moved by {_moved(before.pooled, after.pooled)}",
        f"the grid of patch features moved by {_moved(before.grid, after.grid)}",
    )
    near = [(what, _near(data, scenes, part)) for what, part in (("before", before), ("after", after))]
    titles = ((f"nearest of {COMPARED} scenes {what}, by the cosine of the pooled feature", row) for what, row in near)
    return Exhibit(words, (("", drawings), *titles))


def _checked(text: str) -> str:
    """An attack's spec, refused where the attack needs more than a picture."""
    part = tree("attacks", components.canonical("attacks", text))
    own = part.attack_traits
    if own.stored or own.learns:
        raise UsageError(f"attack {part.spec.name!r} needs images of a data set, and there is one picture; take embed")
    if not part.headless:
        raise UsageError(f"attack {part.spec.name!r} needs a label or a head, and a picture has neither; take embed")
    return components.canonical("attacks", text)


def _square(image: Tensor) -> Tensor:
    """The middle of an image, so that a long one takes no room when it is enlarged."""
    edge = min(image.shape[1:])
    top, left = ((side - edge) // 2 for side in image.shape[1:])
    return image[:, top : top + edge, left : left + edge]


def _scenes(data: Dataset, network: Encoder, weights: str, rule: Protocol) -> Tensor:
    """Pooled features [N, D] of scenes."""
    batches = loading.batches(data, range(COMPARED), task_of(TASK), rule, Machine())
    found = heads.features(network, weights, batches, f"features of {COMPARED} scenes", COMPARED, reads=("pooled",))
    return torch.cat([features.pooled.float() for features, _ in found])


def _near(data: Dataset, scenes: Tensor, seen: Features) -> list[tuple[str, str]]:
    """The nearest scenes, drawn, with their shapes and cosines."""
    cosine, places = cosine_similarity(scenes, seen.pooled).topk(NEAREST)
    samples = [data[place] for place in places.tolist()]
    names = [data.classes["label"][int(sample.targets["label"])] for sample in samples]
    images = [drawing.photograph(as_float(sample.image)) for sample in samples]
    return [(f"{name}, {value:.2f}", image) for name, value, image in zip(names, cosine.tolist(), images)]


def _moved(before: Tensor, after: Tensor) -> str:
    """How far features [1, D, ...] moved: the mean cosine, and the length of the change over that of the features."""
    cosine = cosine_similarity(before, after, dim=1).mean().item()
    share = ((after - before).norm() / before.norm().clamp(min=1e-12)).item()
    return f"{share:.2f} of its length (relative L2), cosine {cosine:.2f}"
