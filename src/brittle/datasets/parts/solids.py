"""Rays against unit solids, in closed form.

A unit solid lies inside the unit sphere (but for BOUND) and symmetrically about z = 0. Solids are unions of convex
parts. Points and directions are [3,N], x, y and z apart, which is several times as fast as [N,3].
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SHAPES = ("sphere", "cube", "cylinder", "cone", "octahedron", "ring", "cross", "dumbbell")
HALF_HEIGHT = torch.tensor([1.0, 0.577, 0.72, 0.75, 0.8, 0.34, 0.8, 0.42])
BOUND = 1.04  # of a unit solid's points from its centre: the rim of the cone is the farthest
FAR = 1e6
_FACES = torch.cat([torch.eye(3), -torch.eye(3)])
_CORNERS = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3) / torch.tensor([1.0, 1.0, 0.8])

# Outward normals [3,M] where some of the rays meet the surface: (indices [M] of these rays, their o and d [3,M]).
# Few rays end on a solid, and which do is known only once all solids are met.
Normals = Callable[[Tensor, Tensor, Tensor], Tensor]
Hit = tuple[Tensor, Normals]  # distance [N], FAR where missed


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of [3,...]."""
    product = a * b
    total = product[0] + product[1]
    total += product[2]
    return total


def walk(o: Tensor, d: Tensor, t: Tensor) -> Tensor:
    """The points ``o + t d``."""
    step = t * d
    step += o
    return step


def unit(v: Tensor) -> Tensor:
    """``v`` [3,N] scaled to length 1; rounded as by ``normalize``, which takes several times as long."""
    square = torch.addcmul(torch.addcmul(v[0] * v[0], v[1], v[1]), v[2], v[2])
    return v / torch.from_numpy(np.sqrt(square.numpy())).clamp_(min=1e-12)


def indices(mask: Tensor) -> Tensor:
    """Where ``mask``, flattened, is true; ``nonzero`` takes several times as long."""
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def solid(shape: str, o: Tensor, d: Tensor) -> Hit:
    """Where rays ``o + t d`` [3,N] first meet a unit solid from outside."""
    match shape:
        case "sphere":
            return _ball(o, d, 0.0, 1.0)
        case "cube":
            return _box(o, d, 0.577, 0.577, 0.577)
        case "cylinder":
            return _rod(o, d, 2, 0.66, 0.72)
        case "cone":
            return _rod(o, d, 2, 0.36, 0.75, 0.48)
        case "octahedron":
            length = _CORNERS.norm(dim=1)
            return _planes(o, d, _CORNERS / length[:, None], (1 / length).tolist())
        case "ring":
            return _ring(o, d)
        case "cross":
            return _nearer(
                _box(o, d, 0.92, 0.25, 0.25), _nearer(_box(o, d, 0.25, 0.92, 0.25), _box(o, d, 0.25, 0.25, 0.8))
            )
        case _:
            rod = _rod(o, d, 0, 0.16, 0.55)
            return _nearer(rod, _nearer(_ball(o, d, 0.58, 0.42), _ball(o, d, -0.58, 0.42)))


def _nearer(a: Hit, b: Hit) -> Hit:
    first = a[0] <= b[0]

    def normals(rows: Tensor, o: Tensor, d: Tensor) -> Tensor:
        return torch.where(first.index_select(0, rows), a[1](rows, o, d), b[1](rows, o, d))

    return torch.minimum(a[0], b[0]), normals


def _ball(o: Tensor, d: Tensor, x: float, radius: float) -> Hit:
    """The ball about (x, 0, 0)."""
    centre = torch.tensor([[x], [0.0], [0.0]])
    p = o - centre
    a, b, c = dot(d, d), dot(p, d), dot(p, p) - radius**2
    root = b * b - a * c
    t = (-b - root.clamp(min=0).sqrt_()) / a
    t.masked_fill_((root <= 0) | (t <= 0), FAR)
    return t, lambda rows, o, d: walk(o - centre, d, t.index_select(0, rows)) / radius


def _box(o: Tensor, d: Tensor, x: float, y: float, z: float) -> Hit:
    return _planes(o, d, _FACES, torch.tensor([x, y, z, x, y, z]).tolist())


def _planes(o: Tensor, d: Tensor, normals: Tensor, offsets: list[float]) -> Hit:
    """The convex polyhedron {x : normals @ x <= offsets}; the second half of its faces is opposite to the first."""
    faces = list(zip(normals.tolist(), offsets))
    enter, leave = torch.tensor(-FAR), torch.tensor(FAR)
    for normal, offset in faces[: len(faces) // 2]:
        place, speed = _onto(o, normal), _onto(d, normal)
        place.masked_fill_(speed == 0, 0.0)  # a ray along two faces counts as between them
        low, high = (-offset - place) / speed, (offset - place) / speed
        enter = torch.maximum(enter, torch.minimum(low, high))
        leave = torch.minimum(leave, torch.maximum(low, high))

    def entered(rows: Tensor, o: Tensor, d: Tensor) -> Tensor:
        times: list[Tensor] = []
        for normal, offset in faces:
            speed = _onto(d, normal)
            times.append(((offset - _onto(o, normal)) / speed).masked_fill_(speed >= 0, -FAR))
        return normals.T.contiguous().index_select(1, torch.stack(times).max(0).indices)

    return enter.masked_fill((enter >= leave) | (enter <= 0), FAR), entered


def _onto(v: Tensor, normal: list[float]) -> Tensor:
    """Scalar products of [3,N] and one direction, whose zeros cost nothing."""
    total, *others = [part * n for part, n in zip(v, normal) if n]
    for other in others:
        total += other
    return total


def _round(
    o: Tensor, d: Tensor, axis: int, radius: float, half: float, slope: float = 0.0
) -> tuple[Tensor, Tensor, Normals, Tensor]:
    """Interval [enter, leave] of rays in a capped cylinder along ``axis`` (or a cone whose radius shrinks by ``slope``
    a unit), the normals on entry, and whether the interval is empty."""
    u, v = [i for i in range(3) if i != axis]
    z, dz = o[axis], d[axis]
    # radius of the surface along the ray
    r, dr = (radius - slope * z, -slope * dz) if slope else (torch.tensor(radius), torch.tensor(0.0))
    a = d[u] ** 2 + d[v] ** 2 - dr**2
    b = o[u] * d[u] + o[v] * d[v] - r * dr
    c = o[u] ** 2 + o[v] ** 2 - r**2
    a.masked_fill_(a.abs() < 1e-9, 1e-9)
    root = b * b - a * c
    q = root.clamp(min=0).sqrt_()
    one, other = (-b - q) / a, (-b + q) / a
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    # outside its two crossings a steep ray is inside the double cone; the caps and the apex bound the true part
    if slope:
        steep = a < 0
        upward = steep & (dz * slope > 0)
        low, high = (
            torch.where(steep, high.masked_fill(upward, -FAR), low),
            torch.where(steep, low.masked_fill(~upward, FAR), high),
        )
    dz = dz.masked_fill(dz.abs() < 1e-9, 1e-9)
    floor, top = (-half - z) / dz, (half - z) / dz
    cap = torch.minimum(floor, top)
    enter, leave = torch.maximum(low, cap), torch.minimum(high, torch.maximum(floor, top))

    def normals(rows: Tensor, o: Tensor, d: Tensor) -> Tensor:
        side = walk(o, d, enter.index_select(0, rows))
        side[axis] = slope * (radius - slope * side[axis])
        flat = torch.zeros_like(side)
        flat[axis] = -d[axis].sign()
        return torch.where((cap > low).index_select(0, rows), flat, unit(side))

    return enter, leave, normals, (root < 0) | (enter >= leave)


def _rod(o: Tensor, d: Tensor, axis: int, radius: float, half: float, slope: float = 0.0) -> Hit:
    enter, _, normals, missed = _round(o, d, axis, radius, half, slope)
    return enter.masked_fill(missed | (enter <= 0), FAR), normals


def _ring(o: Tensor, d: Tensor) -> Hit:
    outer, inner, half = 0.94, 0.55, 0.34
    enter, leave, outside, missed = _round(o, d, 2, outer, half)
    hole_enter, hole_leave, _, no_hole = _round(o, d, 2, inner, 10.0)
    # enters over the hole: meets the far inner side, if at all
    through = ~no_hole & (hole_enter <= enter) & (hole_leave > enter)
    t = torch.where(through, hole_leave, enter)

    def normals(rows: Tensor, o: Tensor, d: Tensor) -> Tensor:
        inward = -walk(o, d, t.index_select(0, rows))
        inward[2] = 0.0
        return torch.where(through.index_select(0, rows), unit(inward), outside(rows, o, d))

    return t.masked_fill(missed | (t >= leave - 1e-6) | (t <= 0), FAR), normals
