"""The smallest change onto a hyperplane inside the box, by scipy's solvers: what our own projection and FAB are held
against."""

import numpy as np
from scipy.optimize import linprog, minimize
from torch import Tensor


def smallest(image: Tensor, normal: Tensor, gap: float, norm: str) -> np.ndarray | None:
    """The change [n] of least norm with ``<normal, change> = gap`` and ``image + change`` in [0, 1]; None where there
    is none."""
    x, w = image.flatten().double().numpy(), normal.flatten().double().numpy()
    n = len(x)
    bounds = [(-v, 1 - v) for v in x]
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
