"""What segmentation counts in images, against counting pixel by pixel."""

import torch

from brittle.core import components
from brittle.types.target import VOID


def test_counts_are_those_of_each_pixel_and_of_equals_the_first_class_wins() -> None:
    draw = torch.Generator().manual_seed(0)
    task = components.build("tasks", "segmentation")
    logits = torch.randint(0, 3, (3, 5, 6, 4), generator=draw).float()  # of few values, so that many are equal
    target = torch.randint(0, 5, (3, 6, 4), generator=draw)
    target[torch.rand(3, 6, 4, generator=draw) < 0.3] = VOID
    target[2] = VOID
    counts = {name: torch.zeros(3, 5, dtype=torch.long) for name in ("intersection", "predicted", "actual")}
    for image in range(3):
        for row in range(6):
            for column in range(4):
                scores, truth = logits[image, :, row, column].tolist(), int(target[image, row, column])
                guess = scores.index(max(scores))
                if truth != VOID:
                    counts["predicted"][image, guess] += 1
                    counts["actual"][image, truth] += 1
                    counts["intersection"][image, guess] += guess == truth
    scored = task.score(logits, target)
    assert all(torch.equal(scored[name], count) for name, count in counts.items())
    assert scored["images"].tolist() == [1, 1, 0]
