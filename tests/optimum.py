"""Optima inside the box that are known, by scipy's solvers or in closed form: what projections and attacks are held
against."""

import math

import numpy as np
from scipy.optimize import linprog, minimize
from torch import Tensor

ORDER = {"linf": math.inf, "l2": 2.0, "l1": 1.0}
DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


def farthest(images: Tensor, slope: Tensor, eps: float) -> Tensor:
    """[B], the most that <slope, change> [3,H,W] can gain in l1 within the box: the steepest value first, each up to
    its room, until eps is spent."""
    room = (images * (slope < 0) + (1 - images) * (slope > 0)).flatten(1).double()
    order = slope.flatten().abs().argsort(descending=True)
    spent = room[:, order].cumsum(1) - room[:, order]
    moved = (eps - spent).clamp(min=0).minimum(room[:, order])
    return (moved * slope.flatten().double().abs()[order]).sum(1)


def smallest(image: Tensor, normal: Tensor, gap: float, norm: str) -> np.ndarray | None:
    """The change [n] of least norm with ``<normal, change> = gap`` and ``image + change`` in [0, 1]; None where there
    is none."""
    x, w = image.flatten().double().numpy(), normal.flatten().double().numpy()
    n = len(x)
    bounds = [(-v, 1 - v) for v in x]
    if norm == "l1":
        up, down = zip(*((max(high, 0.0), max(-low, 0.0)) for low, high in bounds))
        found = linprog([1.0] * 2 * n, None, None, [[*w, *-w]], [gap], [(0, most) for most in (*up, *down)])
        return None if found.status == 2 else found.x[:n] - found.x[n:]
    # the least t with -t <= change <= t
    below = np.block([[np.eye(n), -np.ones((n, 1))], [-np.eye(n), -np.ones((n, 1))]])
    found = linprog([0.0] * n + [1.0], below, np.zeros(2 * n), [[*w, 0.0]], [gap], [*bounds, (0, None)])
    if found.status == 2:
        return None
    assert found.status == 0, found.message
    if norm == "linf":
        return found.x[:n]
    better = minimize(
        lambda d: 0.5 * d @ d,
        found.x[:n],
        jac=lambda d: d,
        bounds=bounds,
        constraints={"type": "eq", "fun": lambda d: w @ d - gap, "jac": lambda d: w},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert better.success, better.message
    return better.x
