"""Casts rays on the solids of a batch of scenes, all solids of a shape at once: what a ray meets, and what lies in the
shadow."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from brittle.datasets.parts.solids import FAR, dot, indices, solid, unit, walk


class Solids(NamedTuple):
    """The K solids of one shape."""

    shape: str
    number: Tensor  # [K] whatever they are told apart by
    scene: Tensor  # [K] which they stand in
    bound: Tensor  # [K] squared radius of a ball around them
    placed: Tensor  # [8,K] centre x y z, cosine and sine of the yaw, scale of the unit solid x y z


class Rays(NamedTuple):
    """N rays ``o + t d`` in each of B scenes, [3,B,N], or [3,B,1] what all rays of a scene share."""

    o: Tensor
    d: Tensor
    length: Tensor  # of d, [N] or [1]


class Ends(NamedTuple):
    """W rays that end on a solid."""

    ray: Tensor  # [W] index into [B,N], flattened
    solid: Tensor  # [W] number of the solid
    normal: Tensor  # [3,W] outward
    place: Tensor  # [3,W] in the unit solid's own axes


class _Near(NamedTuple):
    """P rays that pass near the solids of one shape."""

    ray: Tensor  # [P] index into [B,N], flattened
    t: Tensor  # [P] distance, FAR where missed
    ends: Callable[[Tensor], Ends]  # of some of them


def nearest(solids: Sequence[Solids], rays: Rays, t: Tensor) -> Ends:
    """Rays that meet a solid before ``t`` [B,N], which is changed to where they meet the nearest."""
    limit, t = t.flatten().clone(), t.view(-1)
    found: list[tuple[_Near, Tensor]] = []
    for group in solids:
        near = _near(group, rays)
        rows = indices(near.t < limit.index_select(0, near.ray))
        t.scatter_reduce_(0, near.ray.index_select(0, rows), near.t.index_select(0, rows), "amin")
        found.append((near, rows))
    ends: list[Ends] = []
    for near, rows in found:  # of several solids along a ray the first is seen
        first = near.t.index_select(0, rows) == t.index_select(0, near.ray.index_select(0, rows))
        ends.append(near.ends(rows.index_select(0, indices(first))))
    ray, number, normal, place = zip(*ends)
    return Ends(torch.cat(ray), torch.cat(number), torch.cat(normal, 1), torch.cat(place, 1))


def shadow(solids: Sequence[Solids], points: Tensor, light: Tensor) -> Tensor:
    """1.0 for each of the points [3,B,N] from which the way to the light [3,B,1] meets a solid, else 0.0; [B,N]."""
    dark = torch.zeros(points.shape[1:])
    for group in solids:
        near = _near(group, Rays(points, light, torch.ones(1)))
        dark.view(-1).scatter_(0, near.ray.index_select(0, indices(near.t < FAR)), 1.0)
    return dark


def _near(solids: Solids, rays: Rays) -> _Near:
    """Casts rays on those solids that are in their scene."""
    count, points = len(solids.scene), max(rays.o.shape[2], rays.d.shape[2])
    p = rays.o.index_select(1, solids.scene) - solids.placed[:3, :, None]
    # aimed at the centre of the bounding ball by more than at its outline; a tangent's part along p is that long
    outline = (dot(p, p) - solids.bound[:, None]).clamp_(min=0).sqrt_() * rays.length
    near = indices(dot(p, rays.d.index_select(1, solids.scene)).neg_() > outline)  # into [K,N], flattened
    counts = torch.searchsorted(near, torch.arange(count + 1) * points).diff()
    row = torch.arange(count).repeat_interleave(counts, output_size=len(near))
    ray = near + ((solids.scene - torch.arange(count)) * points).index_select(0, row)

    def pick(v: Tensor) -> Tensor:
        shared = v.shape[2] == 1
        return v[..., 0].index_select(1, solids.scene[row]) if shared else v.view(3, -1).index_select(1, ray)

    placed = solids.placed.index_select(1, row)
    centre, (c, n), scale = placed[:3], placed[3:5], placed[5:]
    o, d = _turn(pick(rays.o) - centre, c, n).div_(scale), _turn(pick(rays.d), c, n).div_(scale)
    t, normals = solid(solids.shape, o, d)

    def ends(rows: Tensor) -> Ends:
        own = row.index_select(0, rows)
        oo, dd = o.index_select(1, rows), d.index_select(1, rows)
        c, n, *scale = solids.placed[3:].index_select(1, own)
        normal = _turn(normals(rows, oo, dd) / torch.stack(scale), c, -n)
        place = walk(oo, dd, t.index_select(0, rows))
        return Ends(ray.index_select(0, rows), solids.number.index_select(0, own), unit(normal), place)

    return _Near(ray, t, ends)


def _turn(v: Tensor, c: Tensor, n: Tensor) -> Tensor:
    return torch.stack([c * v[0] + n * v[1], c * v[1] - n * v[0], v[2]])
