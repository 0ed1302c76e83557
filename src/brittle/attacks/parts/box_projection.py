"""The shortest change that brings an image onto a hyperplane without leaving [0, 1]: an exact projection, for every
norm."""

import torch
from torch import Tensor

from brittle.types.threat import Norm

FAINT = 1e-18  # of the normal's largest value: the square of less is lost in float32


def project(images: Tensor, normal: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """The smallest ``change`` in ``norm`` with ``<normal, change> = gap`` and ``images + change`` in [0, 1] (Croce &
    Hein 2020).

    linf and l2: every value moves in its normal's direction, at speed 1 or at its normal's own, until it meets the box.
    What is gained along the normal is then concave and piecewise linear in time, so that Newton's method from time 0
    never goes too far and ends exactly, once no further value has met the box. l1: one value after the other moves to
    the box, the steepest first, the last only as far as is needed. Where even the corner they all run to does not close
    the gap, that corner is returned.

    Args:
        images: [B,3,H,W] in [0, 1].
        normal: [B,3,H,W], finite; where it is 0 nothing moves.
        gap: [B], what is to be gained along the normal, of any sign.

    Returns:
        [B,3,H,W], never NaN.
    """
    values, slope, gap = images.flatten(1), normal.flatten(1), gap.view(-1, 1)
    peak = slope.abs().amax(1, keepdim=True)
    unit = torch.where(peak > 0, peak, 1)  # so that neither a faint nor a steep normal leaves the range of float32
    slope, gap = slope / unit * torch.where(gap < 0, -1, 1), gap.abs() / unit
    slope = torch.where(slope.abs() < FAINT, 0, slope)
    pull = slope.abs()
    room = torch.where(slope > 0, 1 - values, values) * (pull > 0)
    gain = pull * room
    if norm == "l1":
        return (_in_turn(pull, room, gap) * slope.sign()).view_as(images)
    speed = torch.ones_like(pull) if norm == "linf" else pull
    rate, until = pull * speed, room / torch.where(pull > 0, speed, 1)
    met = room <= 0
    while True:
        pace = torch.where(met, 0, rate).sum(1, keepdim=True)
        time = (gap - torch.where(met, gain, 0).sum(1, keepdim=True)).clamp(min=0) / torch.where(pace > 0, pace, 1)
        further = met | (until <= time)
        if torch.equal(further, met):
            break
        met = further
    return (torch.where(met, room, time * speed) * slope.sign()).view_as(images)


def _in_turn(pull: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """How far each value moves, the steepest first and to the box, until ``gap`` [B,1] is closed."""
    order = pull.argsort(dim=1, descending=True, stable=True)
    gain = (pull.double() * room).gather(1, order)  # of which there are many to add up
    share = (gap - gain.cumsum(1) + gain) / torch.where(gain > 0, gain, 1)
    return room * torch.zeros_like(room).scatter(1, order, share.clamp(0, 1).to(room))
