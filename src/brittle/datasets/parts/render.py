"""Ray-casts small rooms with a few solids, every intersection in closed form, whole batches of scenes at once.

World axes are metres, z up, the floor at z = 0. A scene is one row of uniform numbers (``unit``), so it depends on
nothing but its own row. Of the N rays in each of B scenes W end on a solid: what all rays have is [...,B,N], what only
these have is [...,W]. Brackets and ``where`` take several times as long as ``index_select`` and arithmetic.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from brittle.datasets.parts.casting import Ends, Rays, Solids, nearest, shadow
from brittle.datasets.parts.solids import BOUND, HALF_HEIGHT, SHAPES, dot, indices, unit, walk

CLASSES = ("wall", "floor", *SHAPES)
SOLIDS = 3  # at most this many in a scene; the first is the main one
NUMBERS = 96  # uniform numbers a scene is made of
TAN_HALF_VIEW = math.tan(math.radians(25.0))  # 50 degrees of view
_COVER = (1.0, 0.68, 0.74, 0.45, 0.52, 0.84, 0.74, 0.36)  # silhouette over bounding disc, per shape, for framing


class View(NamedTuple):
    """One rendered batch: ``image`` [B,3,H,W] in [0,1], ``mask`` [B,H,W] indices into CLASSES, ``depth`` [B,1,H,W]
    metres."""

    image: Tensor
    mask: Tensor
    depth: Tensor


class Scene(NamedTuple):
    """A batch of B scenes as plain tensors; S solids each (``radius`` 0 where a slot is empty)."""

    shape: Tensor  # [B,S] index into SHAPES
    centre: Tensor  # [B,S,3]
    radius: Tensor  # [B,S] bounding radius, but for BOUND
    yaw: Tensor  # [B,S]
    stretch: Tensor  # [B,S] height over width
    colour: Tensor  # [B,S+2,3] wall, floor, solids
    pattern: Tensor  # [B,S+2,3] kind in [0,1), frequency, contrast
    wall: Tensor  # [B,3] azimuth of the outward normal, distance from the origin, unused
    camera: Tensor  # [B,3] azimuth, elevation, distance
    aim: Tensor  # [B,3] point looked at
    light: Tensor  # [B,6] azimuth, elevation, ambient, tint r g b


def between(u: Tensor, low: float, high: float) -> Tensor:
    """``u`` in [0, 1) scaled to [low, high)."""
    return low + (high - low) * u


def compose(unit: Tensor, look: Tensor | None = None) -> Scene:
    """Scene of each row of uniform numbers.

    Args:
        unit: [B, NUMBERS] in [0, 1).
        look: [B, NUMBERS] in [0, 1); where given, camera, light, colours, textures, wall and the other solids come from
            it while the main solid stays: the same thing seen again elsewhere.
    """
    look = unit if look is None else look
    count = len(unit)
    shape = torch.empty(count, SOLIDS, dtype=torch.long)
    radius, yaw, stretch = torch.empty(3, count, SOLIDS).unbind(0)
    centre = torch.zeros(count, SOLIDS, 3)
    shape[:, 0] = (unit[:, 0] * len(SHAPES)).long()
    radius[:, 0] = between(unit[:, 1], 0.45, 0.65)
    stretch[:, 0] = between(unit[:, 2], 0.85, 1.2)
    yaw[:, 0] = between(look[:, 3], 0, 2 * math.pi)
    azimuth = between(look[:, 4], 0, 2 * math.pi)
    others = (look[:, 5] * SOLIDS).long()  # 0, 1 or 2 more solids
    for slot in range(1, SOLIDS):
        u = look[:, 8 + 8 * slot : 16 + 8 * slot]
        shape[:, slot] = (u[:, 0] * len(SHAPES)).long()
        radius[:, slot] = between(u[:, 1], 0.20, 0.32) * (others >= slot)
        stretch[:, slot] = between(u[:, 2], 0.85, 1.2)
        yaw[:, slot] = between(u[:, 3], 0, 2 * math.pi)
        side = 1.0 if slot == 1 else -1.0  # one to each side of the main solid, and rather behind it than before it
        angle = azimuth + side * between(u[:, 4], 0.32 * math.pi, 0.80 * math.pi)
        reach = radius[:, 0] + radius[:, slot] + between(u[:, 5], 0.02, 0.35)
        centre[:, slot, 0] = reach * angle.cos()
        centre[:, slot, 1] = reach * angle.sin()
    centre[..., 2] = radius * HALF_HEIGHT[shape] * stretch / _extent(stretch)
    fill = between(look[:, 6], 0.20, 0.44)
    cover = torch.tensor(_COVER)[shape[:, 0]]
    distance = radius[:, 0] * (math.pi * cover / fill).sqrt() / (2 * TAN_HALF_VIEW)
    elevation = between(look[:, 7], 0.20, 0.75)
    aim = centre[:, 0] + radius[:, :1] * between(look[:, 8:11], -0.22, 0.22)
    wall = torch.stack(
        [azimuth + math.pi + between(look[:, 11], -0.45, 0.45), between(look[:, 12], 0.9, 2.6), look[:, 13]], 1
    )
    light = torch.cat(
        [
            (azimuth + between(look[:, 40], -1.9, 1.9))[:, None],
            between(look[:, 41:42], 0.55, 1.25),
            between(look[:, 42:43], 0.38, 0.55),
            between(look[:, 43:46], 0.86, 1.0),
        ],
        1,
    )
    paint = look[:, 48 : 48 + 8 * (SOLIDS + 2)].reshape(count, SOLIDS + 2, 8)
    # muted walls and floors: colour must not be the easy clue
    surround = torch.tensor([1.0, 1.0] + [0.0] * SOLIDS)[:, None]
    saturation = torch.where(surround[:, 0] > 0, between(paint[..., 1], 0, 0.22), between(paint[..., 1], 0.25, 0.9))
    value = torch.where(surround[:, 0] > 0, between(paint[..., 2], 0.4, 0.85), between(paint[..., 2], 0.55, 1.0))
    contrast = torch.where(surround[:, 0] > 0, between(paint[..., 5], 0.0, 0.12), between(paint[..., 5], 0.06, 0.28))
    pattern = torch.stack([paint[..., 3], between(paint[..., 4], 2.0, 5.0), contrast], -1)
    camera = torch.stack([azimuth, elevation, distance], 1)
    return Scene(
        shape, centre, radius, yaw, stretch, _rgb(paint[..., 0], saturation, value), pattern, wall, camera, aim, light
    )


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    k = (torch.tensor([5.0, 3.0, 1.0]) + hue[..., None] * 6) % 6
    return value[..., None] * (1 - saturation[..., None] * torch.minimum(k, 4 - k).clamp(0, 1))


def _extent(stretch: Tensor) -> Tensor:
    """Bounding radius of a unit solid stretched upwards, so that ``radius`` stays a bound."""
    return stretch.clamp(min=1.0)


def _solids(scene: Scene) -> list[Solids]:
    """Those of all scenes, by shape; their numbers are indices into [B,S], flattened."""
    width = scene.radius / _extent(scene.stretch)
    turned, scale = [scene.yaw.cos(), scene.yaw.sin()], [width, width, width * scene.stretch]
    placed = torch.stack([*scene.centre.unbind(2), *turned, *scale]).flatten(1)
    bound = ((BOUND * scene.radius) ** 2).flatten()
    found: list[Solids] = []
    for index, shape in enumerate(SHAPES):
        own = indices((scene.shape == index) & (scene.radius > 0))
        if len(own):
            found.append(Solids(shape, own, own // SOLIDS, bound[own], placed.index_select(1, own)))
    return found


# --- the image --------------------------------------------------------------------------------------------------------


def _spherical(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Unit vectors [3,B,1]."""
    level = elevation.cos()
    return torch.stack([level * azimuth.cos(), level * azimuth.sin(), elevation.sin()])[..., None]


def _mix(share: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``a`` where ``share`` is 1, ``b`` where it is 0, to the last bit."""
    return torch.addcmul(share * a, 1 - share, b)


def _rays(scene: Scene, x: Tensor, y: Tensor) -> Rays:
    """From the camera through image-plane points ``x``, ``y`` [N]. Directions make one metre along the optical axis,
    so distances are depths."""
    azimuth, elevation, distance = scene.camera.unbind(1)
    back = _spherical(azimuth, elevation)
    right = torch.stack([-azimuth.sin(), azimuth.cos(), torch.zeros_like(azimuth)])[..., None]
    up = torch.linalg.cross(back, right, dim=0)
    d = x * right
    d -= y * up
    d *= TAN_HALF_VIEW
    d -= back
    return Rays(scene.aim.T[..., None] + distance[:, None] * back, d, (1 + (x * x + y * y) * TAN_HALF_VIEW**2).sqrt())


def _woven(pattern: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """What a pattern makes of a colour: a factor. ``pattern`` [3,...] as of ``_coats``."""
    checked, frequency, contrast = pattern
    stripes = (along * frequency).sin_()
    stripes *= _mix(checked, (across * frequency).sin_().mul_(2), torch.ones(()))
    return stripes.mul_(4).clamp_(-1, 1).mul_(contrast).add_(1)


def _coats(scene: Scene) -> Tensor:
    """Colour r g b, whether checked rather than striped, frequency, and contrast, 0 where plain: [6,S+2,B,1]."""
    kind, frequency, contrast = scene.pattern.unbind(2)
    pattern = torch.stack([(kind >= 0.7).float(), frequency * math.pi, contrast * (kind >= 0.4)])
    return torch.cat([scene.colour.permute(2, 0, 1), pattern]).transpose(1, 2).contiguous()[..., None]


def _room_colour(scene: Scene, p: Tensor, wall: Tensor, normals: Tensor, dark: Tensor) -> Tensor:
    """Colour [3,B,N] of points ``p`` on wall or floor, whose normals are [3,2,B,1]."""
    facing, light = -normals[:, 0], _spherical(scene.light[:, 0], scene.light[:, 1])
    sideways = p[1] * facing[0] - p[0] * facing[1]
    coats = _coats(scene)
    pattern = _mix(wall, coats[3:, 0], coats[3:, 1])
    colour = _mix(wall, coats[:3, 0], coats[:3, 1])
    colour *= _woven(pattern, _mix(wall, sideways, p[0]), _mix(wall, p[2], p[1]))
    ambient = scene.light[:, 2:3] * (0.8 + 0.2 * normals[2])
    lit = ambient + (1 - ambient) * dot(normals, light[:, None]).clamp(min=0)
    colour *= _mix(dark, _mix(wall, *ambient), _mix(wall, *lit))
    return colour.mul_(scene.light[:, 3:].T[..., None])


def _solid_colour(scene: Scene, d: Tensor, ends: Ends, dark: Tensor) -> Tensor:
    """Colour [3,W] of rays ``d`` [3,B,N] that end on a solid, [B,N] of them in the dark."""
    image = ends.solid // SOLIDS
    sun = _spherical(scene.light[:, 0], scene.light[:, 1])[..., 0].index_select(1, image)
    ambient, *tint = scene.light[:, 2:].T.index_select(1, image)
    lambert = dot(ends.normal, sun).clamp_(min=0) * (1 - dark.view(-1).index_select(0, ends.ray))
    shine = torch.zeros_like(lambert)
    lit = indices(lambert > 0)
    toward = unit(d.view(3, -1).index_select(1, ends.ray.index_select(0, lit)))
    half = unit(sun.index_select(1, lit) - toward)
    shine[lit] = 0.25 * dot(ends.normal.index_select(1, lit), half).clamp_(min=0) ** 24
    coat = _coats(scene)[:, 2:, :, 0].transpose(1, 2).flatten(1).index_select(1, ends.solid)
    ambient *= 0.8 + 0.2 * ends.normal[2]
    colour = coat[:3] * _woven(coat[3:], ends.place[0], ends.place[2])
    colour *= ambient + (1 - ambient) * lambert
    return colour.mul_(torch.stack(tint)).add_(shine)


def _trace(scene: Scene, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [3,B,N], class [B,N] and depth along the axis [B,N] at image-plane points ``x``, ``y`` [N] in [-1, 1]."""
    rays = _rays(scene, x, y)
    facing = _spherical(scene.wall[:, 0], torch.zeros(len(scene.wall)))
    # what leads away from the wall, or from the floor, meets it farther off than anything else
    t_wall = (scene.wall[:, 1:2] - dot(rays.o, facing)) / dot(rays.d, facing).clamp_(min=1e-6)
    t_floor = -rays.o[2] / rays.d[2].clamp(max=-1e-6)
    wall = (t_wall < t_floor).float()
    t = torch.minimum(t_wall, t_floor)
    solids = _solids(scene)
    ends = nearest(solids, rays, t)
    p = walk(rays.o, rays.d, t)
    normals = torch.stack([-facing, torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand_as(facing)], 1)
    # shadows are cast from slightly above the surface
    above = p + _mix(wall, *(2e-3 * normals).unbind(1))
    at = ends.ray.expand(3, -1)
    above.view(3, -1).scatter_(1, at, p.view(3, -1).index_select(1, ends.ray) + 2e-3 * ends.normal)
    dark = shadow(solids, above, _spherical(scene.light[:, 0], scene.light[:, 1]))
    colour = _room_colour(scene, p, wall, normals, dark)
    colour.view(3, -1).scatter_(1, at, _solid_colour(scene, rays.d, ends, dark))
    classes = (1 - wall).long()
    classes.view(-1).scatter_(0, ends.ray, scene.shape.view(-1).index_select(0, ends.solid) + 2)
    return colour.clamp_(0, 1), classes, t


def render(scene: Scene, size: int) -> View:
    """Draw scenes at ``size`` x ``size`` pixels; colour is averaged over the centre and corners of each pixel, labels
    are its centre's."""
    step = 2.0 / size
    middle = (torch.arange(size) + 0.5) * step - 1
    corner = torch.arange(size + 1) * step - 1
    (y, x), (y_corner, x_corner) = (torch.meshgrid(edge, edge, indexing="ij") for edge in (middle, corner))
    # all in one go: the fewer the steps, the less they cost
    colour, mask, depth = (
        part.split([size**2, (size + 1) ** 2], -1)
        for part in _trace(
            scene, torch.cat([x.flatten(), x_corner.flatten()]), torch.cat([y.flatten(), y_corner.flatten()])
        )
    )
    edge = colour[1].unflatten(2, (size + 1, size + 1))
    around = (edge[..., 1:, 1:] + edge[..., 1:, :-1] + edge[..., :-1, 1:] + edge[..., :-1, :-1]) / 4
    image = (colour[0].unflatten(2, (size, size)) + around) / 2
    return View(
        image.transpose(0, 1).contiguous(),
        mask[0].unflatten(1, (size, size)).contiguous(),
        depth[0].unflatten(1, (1, size, size)).contiguous(),
    )
