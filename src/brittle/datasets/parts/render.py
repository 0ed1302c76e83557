"""Ray-casts small rooms with a few solids, every intersection in closed form, whole batches of scenes at once.

World axes are metres, z up, the floor at z = 0. A scene is one row of uniform numbers (``unit``), so it depends on
nothing but its own row. Solids are unions of convex parts; each part is met by a ray in closed form.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ("sphere", "cube", "cylinder", "cone", "octahedron", "ring", "cross", "dumbbell")
CLASSES = ("wall", "floor", *SHAPES)
SOLIDS = 3  # at most this many in a scene; the first is the main one
NUMBERS = 96  # uniform numbers a scene is made of
TAN_HALF_VIEW = math.tan(math.radians(25.0))  # 50 degrees of view
FAR = 1e6
BOUND = 1.04  # of a unit solid's points from its centre: the rim of the cone is the farthest
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
    centre[..., 2] = radius * _HALF_HEIGHT[shape] * stretch / _extent(stretch)
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


# --- rays against unit solids (inside the unit sphere, resting symmetrically about z = 0) -----------------------------

_HALF_HEIGHT = torch.tensor([1.0, 0.577, 0.72, 0.75, 0.8, 0.34, 0.8, 0.42])
Hit = tuple[Tensor, Tensor]  # distance [N] (FAR where missed), outward normal [N,3]


def _nearer(a: Hit, b: Hit) -> Hit:
    first = a[0] <= b[0]
    return torch.where(first, a[0], b[0]), torch.where(first[:, None], a[1], b[1])


def _ball(o: Tensor, d: Tensor, centre: tuple[float, float, float], radius: float) -> Hit:
    p = o - torch.tensor(centre)
    a, b, c = (d * d).sum(1), (p * d).sum(1), (p * p).sum(1) - radius**2
    root = b * b - a * c
    t = (-b - root.clamp(min=0).sqrt()) / a
    t = torch.where((root > 0) & (t > 0), t, FAR)
    return t, (p + t.clamp(max=FAR)[:, None] * d) / radius


def _planes(o: Tensor, d: Tensor, normals: Tensor, offsets: Tensor) -> Hit:
    """The convex polyhedron {x : normals @ x <= offsets}."""
    speed = d @ normals.T
    t = (offsets - o @ normals.T) / torch.where(speed.abs() < 1e-9, 1e-9, speed)
    enter, face = torch.where(speed < 0, t, -FAR).max(1)
    leave = torch.where(speed > 0, t, FAR).min(1).values
    return torch.where((enter < leave) & (enter > 0), enter, FAR), normals[face]


def _round(
    o: Tensor, d: Tensor, axis: int, radius: float, half: float, slope: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Interval [enter, leave] of rays in a capped cylinder along ``axis`` (or a cone whose radius shrinks by ``slope``
    a unit), the normal on entry, and whether the interval is empty."""
    u, v = [i for i in range(3) if i != axis]
    z, dz = o[:, axis], d[:, axis]
    r, dr = radius - slope * z, -slope * dz  # radius of the surface along the ray
    a = d[:, u] ** 2 + d[:, v] ** 2 - dr**2
    b = o[:, u] * d[:, u] + o[:, v] * d[:, v] - r * dr
    c = o[:, u] ** 2 + o[:, v] ** 2 - r**2
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    root = b * b - a * c
    q = root.clamp(min=0).sqrt()
    low, high = torch.minimum((-b - q) / a, (-b + q) / a), torch.maximum((-b - q) / a, (-b + q) / a)
    # outside its two crossings a steep ray is inside the double cone; the caps and the apex bound the true part
    if slope:
        steep = a < 0
        upward = steep & (dz * slope > 0)
        low, high = (
            torch.where(steep, torch.where(upward, -FAR, high), low),
            torch.where(steep, torch.where(upward, low, FAR), high),
        )
    dz = torch.where(dz.abs() < 1e-9, 1e-9, dz)
    floor, top = (-half - z) / dz, (half - z) / dz
    cap = torch.minimum(floor, top)
    enter, leave = torch.maximum(low, cap), torch.minimum(high, torch.maximum(floor, top))
    missed = (root < 0) | (enter >= leave)
    p = o + enter[:, None] * d
    side = p.clone()
    side[:, axis] = slope * (radius - slope * p[:, axis])
    flat = torch.zeros_like(p)
    flat[:, axis] = -dz.sign()
    normal = torch.where((cap > low)[:, None], flat, torch.nn.functional.normalize(side, dim=1))
    return enter, leave, normal, missed


def _rod(o: Tensor, d: Tensor, axis: int, radius: float, half: float, slope: float = 0.0) -> Hit:
    enter, _, normal, missed = _round(o, d, axis, radius, half, slope)
    return torch.where(missed | (enter <= 0), FAR, enter), normal


def _ring(o: Tensor, d: Tensor) -> Hit:
    outer, inner, half = 0.94, 0.55, 0.34
    enter, leave, normal, missed = _round(o, d, 2, outer, half)
    hole_enter, hole_leave, _, no_hole = _round(o, d, 2, inner, 10.0)
    # enters over the hole: meets the far inner side, if at all
    through = ~no_hole & (hole_enter <= enter) & (hole_leave > enter)
    t = torch.where(through, hole_leave, enter)
    p = o + t[:, None] * d
    inward = torch.nn.functional.normalize(torch.stack([-p[:, 0], -p[:, 1], torch.zeros_like(t)], 1), dim=1)
    normal = torch.where(through[:, None], inward, normal)
    return torch.where(missed | (t >= leave - 1e-6) | (t <= 0), FAR, t), normal


def _box(o: Tensor, d: Tensor, x: float, y: float, z: float) -> Hit:
    normals = torch.cat([torch.eye(3), -torch.eye(3)])
    return _planes(o, d, normals, torch.tensor([x, y, z, x, y, z]))


def _octahedron(o: Tensor, d: Tensor) -> Hit:
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    normals = signs / torch.tensor([1.0, 1.0, 0.8])
    length = normals.norm(dim=1)
    return _planes(o, d, normals / length[:, None], 1 / length)


def _solid(shape: int, o: Tensor, d: Tensor) -> Hit:
    match SHAPES[shape]:
        case "sphere":
            return _ball(o, d, (0, 0, 0), 1.0)
        case "cube":
            return _box(o, d, 0.577, 0.577, 0.577)
        case "cylinder":
            return _rod(o, d, 2, 0.66, 0.72)
        case "cone":
            return _rod(o, d, 2, 0.36, 0.75, 0.48)
        case "octahedron":
            return _octahedron(o, d)
        case "ring":
            return _ring(o, d)
        case "cross":
            return _nearer(
                _box(o, d, 0.92, 0.25, 0.25), _nearer(_box(o, d, 0.25, 0.92, 0.25), _box(o, d, 0.25, 0.25, 0.8))
            )
        case _:
            rod = _rod(o, d, 0, 0.16, 0.55)
            return _nearer(rod, _nearer(_ball(o, d, (0.58, 0, 0), 0.42), _ball(o, d, (-0.58, 0, 0), 0.42)))


# --- the image --------------------------------------------------------------------------------------------------------


def _spherical(azimuth: Tensor, elevation: Tensor) -> Tensor:
    return torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)


def _cast(scene: Scene, o: Tensor, d: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nearest solid along rays ``o + t d`` [B,N,3], where ``wanted`` [B,N]: t, slot, normal, and the point in the
    solid's own axes."""
    count, points, _ = d.shape
    t = d.new_full((count * points,), FAR)
    slot = torch.full((count * points,), -1)
    normal, local = d.new_zeros(count * points, 3), d.new_zeros(count * points, 3)
    flat_o, flat_d = o.expand_as(d).reshape(-1, 3), d.reshape(-1, 3)
    length = _dot(d, d)
    for s in range(SOLIDS):
        p = scene.centre[:, None, s] - o
        along = _dot(p, d)
        gap = _dot(p, p) - along.square() / length
        met = (gap < (BOUND * scene.radius[:, None, s]) ** 2) & (along > 0)
        near = (met if wanted is None else met & wanted).flatten().nonzero()[:, 0]
        solid_shape = scene.shape[near // points, s]
        for shape in range(len(SHAPES)):
            rays = near[solid_shape == shape]
            if len(rays) == 0:
                continue
            index = rays // points
            yaw, scale = scene.yaw[index, s], scene.radius[index, s] / _extent(scene.stretch[index, s])
            c, n, up = yaw.cos(), yaw.sin(), scale * scene.stretch[index, s]
            oo = _turn(flat_o[rays] - scene.centre[index, s], c, n) / torch.stack([scale, scale, up], 1)
            dd = _turn(flat_d[rays], c, n) / torch.stack([scale, scale, up], 1)
            hit, m = _solid(shape, oo, dd)
            closer = hit < t[rays]
            rays, hit = rays[closer], hit[closer]
            t[rays], slot[rays] = hit, s
            local[rays] = oo[closer] + hit[:, None] * dd[closer]
            world = _turn(m / torch.stack([scale, scale, up], 1), c, -n)[closer]
            normal[rays] = torch.nn.functional.normalize(world, dim=1)
    return t.view(count, points), slot.view(count, points), normal.view(d.shape), local.view(d.shape)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product along the last axis of 3, by components: twice as fast as a product and a sum."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _turn(x: Tensor, c: Tensor, n: Tensor) -> Tensor:
    return torch.stack([c * x[:, 0] + n * x[:, 1], c * x[:, 1] - n * x[:, 0], x[:, 2]], 1)


def _trace(scene: Scene, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [B,N,3], class [B,N] and depth along the axis [B,N] at image-plane points ``x``, ``y`` [N] in [-1, 1]."""
    count = len(scene.camera)
    back = _spherical(scene.camera[:, 0], scene.camera[:, 1])
    o = (scene.aim + scene.camera[:, 2:] * back)[:, None]
    right = torch.stack([-scene.camera[:, 0].sin(), scene.camera[:, 0].cos(), torch.zeros(count)], 1)
    up = torch.linalg.cross(back, right)
    d = (x[:, None] * right[:, None] - y[:, None] * up[:, None]) * TAN_HALF_VIEW - back[:, None]
    # d makes one metre along the optical axis, so t is the depth itself
    t, slot, normal, local = _cast(scene, o, d)
    facing = _spherical(scene.wall[:, 0], torch.zeros(count))[:, None]
    toward = _dot(d, facing)
    t_wall = torch.where(toward > 1e-6, (scene.wall[:, 1:2] - _dot(o, facing)) / toward, FAR)
    t_floor = torch.where(d[..., 2] < -1e-6, -o[..., 2] / d[..., 2], FAR)
    wall = t_wall < t_floor
    surround = torch.minimum(t_wall, t_floor)
    solid = t < surround
    t = torch.minimum(t, surround)
    p = o + t[..., None] * d
    sideways = _dot(p, torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]).expand_as(facing), facing))
    across = torch.where(solid, local[..., 0], torch.where(wall, sideways, p[..., 0]))
    along = torch.where(solid, local[..., 2], torch.where(wall, p[..., 2], p[..., 1]))
    upward = torch.tensor([0.0, 0.0, 1.0])
    normal = torch.where(solid[..., None], normal, torch.where(wall[..., None], -facing, upward))
    paint = torch.where(solid, slot + 2, (~wall).long())
    light = _spherical(scene.light[:, 0], scene.light[:, 1])[:, None]
    lambert = _dot(normal, light).clamp(min=0)
    shadow = _cast(scene, p + 2e-3 * normal, light.expand_as(p), lambert > 0)[0] < FAR
    lambert = torch.where(shadow, 0.0, lambert)
    coat = torch.cat([scene.colour, scene.pattern], 2).gather(1, paint[..., None].expand(-1, -1, 6))
    pattern, frequency, contrast = coat[..., 3], coat[..., 4] * math.pi, coat[..., 5]
    stripes = (along * frequency).sin()
    checks = stripes * (across * frequency).sin() * 2
    wave = torch.where(pattern < 0.4, 0.0, torch.where(pattern < 0.7, stripes, checks))
    albedo = coat[..., :3] * (1 + contrast * (wave * 4).clamp(-1, 1))[..., None]
    ambient = scene.light[:, 2:3] * (0.8 + 0.2 * normal[..., 2])
    half = torch.nn.functional.normalize(light - d / d.norm(dim=2, keepdim=True), dim=2)
    shine = 0.25 * _dot(normal, half).clamp(min=0) ** 24 * (solid & (lambert > 0))
    colour = albedo * (ambient + (1 - ambient) * lambert)[..., None] * scene.light[:, None, 3:] + shine[..., None]
    classes = torch.where(solid, scene.shape.gather(1, slot.clamp(min=0)) + 2, (~wall).long())
    return colour.clamp(0, 1), classes, t


def render(scene: Scene, size: int) -> View:
    """Draw scenes at ``size`` x ``size`` pixels; colour is averaged over the centre and corners of each pixel, labels
    are its centre's."""
    step = 2.0 / size
    middle = (torch.arange(size) + 0.5) * step - 1
    corner = torch.arange(size + 1) * step - 1
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    colour, mask, depth = _trace(scene, x.flatten(), y.flatten())
    y, x = torch.meshgrid(corner, corner, indexing="ij")
    edge = _trace(scene, x.flatten(), y.flatten())[0].reshape(-1, size + 1, size + 1, 3)
    around = (edge[:, 1:, 1:] + edge[:, 1:, :-1] + edge[:, :-1, 1:] + edge[:, :-1, :-1]) / 4
    image = (colour.reshape(-1, size, size, 3) + around) / 2
    return View(image.permute(0, 3, 1, 2).contiguous(), mask.reshape(-1, size, size), depth.reshape(-1, 1, size, size))
