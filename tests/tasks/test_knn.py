"""Nearest neighbours: as an independent implementation votes, kept and loaded whole, and never flat for an attack."""

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

import brittle
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.evaluation import probe
from brittle.tasks.parts import knn
from brittle.types import Features, Model

DIM, CLASSES = 16, 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int, seed: int, spread: float = 1.5) -> tuple[Features, torch.Tensor]:
    centres = torch.randn(CLASSES, DIM, generator=generator(99))
    label = torch.randint(0, CLASSES, (count,), generator=generator(seed))
    pooled = centres[label] + spread * torch.randn(count, DIM, generator=generator(seed + 1))
    return Features(pooled, pooled[:, :0, None, None]), label


def fitted(train: tuple[Features, torch.Tensor]) -> torch.nn.Module:
    task = components.build("tasks", "classification(head=knn)")
    features, label = train
    halves = [
        (Features(features.pooled[part], features.grid[part]), label[part]) for part in (slice(99), slice(99, None))
    ]
    return probe.fit(task, DIM, 8, CLASSES, halves, halves)


def test_shares_are_those_of_an_independent_implementation() -> None:
    train, (query, _) = rows(300, 0), rows(200, 50)
    head = fitted(train)
    own = head(query, (8, 8))
    other = KNeighborsClassifier(
        n_neighbors=20,
        metric="cosine",
        algorithm="brute",
        weights=lambda gap: torch.tensor((1 - gap) / 0.07).exp().numpy(),
    ).fit(head.bank.float().numpy(), train[1].numpy())
    expected = torch.from_numpy(other.predict_proba(query.pooled.numpy()))
    assert expected.max(1).values.min() < 0.9, "the vote is not unanimous everywhere"
    assert (own.exp() - expected).abs().max() < 1e-3
    sure = expected.sort(1).values.diff(dim=1)[:, -1] > 2e-3
    assert sure.double().mean() > 0.95
    assert torch.equal(own.argmax(1)[sure], expected.argmax(1)[sure])
    torch.testing.assert_close(head.bank.float(), torch.nn.functional.normalize(train[0].pooled), atol=1e-3, rtol=0)


def test_fewer_images_than_neighbours_all_vote() -> None:
    train = rows(7, 0)
    shares = fitted(train)(rows(3, 5)[0], (8, 8)).exp()
    assert shares.isfinite().all()
    assert (shares > 0).all(), "a class that nobody has is no minus infinity"
    torch.testing.assert_close(shares.sum(1), torch.ones(3), atol=2 * knn.REST, rtol=0)


def test_kept_and_loaded_it_is_the_same() -> None:
    head = fitted(rows(150, 0))
    other = probe.unfitted(components.build("tasks", "classification(head=knn)"), DIM, CLASSES)
    other.load_state_dict(head.state_dict(), strict=True)
    query = rows(20, 5)[0]
    assert torch.equal(other(query, (8, 8)), head(query, (8, 8)))
    assert head.bank.dtype == torch.float16


def test_a_unanimous_vote_has_a_slope_that_leads_away() -> None:
    head = fitted(rows(300, 0, spread=0.05))
    features, label = rows(40, 70, spread=0.05)
    assert (head(features, (8, 8)).softmax(1).gather(1, label[:, None]) > 0.999).all(), "all neighbours agree"

    def wrong(images: torch.Tensor) -> torch.Tensor:
        pooled = 8 * images.flatten(1)[:, :DIM] - 4
        return head(Features(pooled, pooled[:, :0, None, None]), (8, 8))

    images = torch.zeros(40, 3, 4, 4)
    images.flatten(1)[:, :DIM] = features.pooled / 8 + 0.5
    images = images.clamp(0, 1)
    model = Model(components.build("tasks", "classification(head=knn)"), wrong)
    attacked = brittle.attack(model, images, label, attack="pgd(steps=10)", eps=0.2)
    noise = (images + 0.2 * torch.rand(images.shape, generator=generator(3)).sub(0.5).sign()).clamp(0, 1)
    right = [(wrong(seen).argmax(1) == label).double().mean().item() for seen in (noise, attacked)]
    assert right[0] > 0.9
    assert right[1] < 0.3, right


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(UsageError, match="head"):
        components.build("tasks", "classification(head=trees)")
