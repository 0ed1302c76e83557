"""The caller's world: what is set in a process (torch's defaults, random states, the environment) decides no number and
is afterwards as it was."""

import logging
import os
import random
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from numbers import Integral
from threading import RLock
from typing import Any

import numpy as np
import torch

from brittle.core.errors import UsageError
from brittle.types.rng import seed_of

_ONE_AT_A_TIME = RLock()
os.register_at_fork(after_in_child=lambda: globals().update(_ONE_AT_A_TIME=RLock()))  # its holder is not in the child


@contextmanager
def world(seed: int = 0) -> Generator[None]:
    """Inside, torch's defaults are those of a new process and its random state goes by ``seed``; outside, all is as it
    was. One call in a process at a time, since these settings, and the modes of a module that two calls may share, are
    its own: other threads wait. Calls may be nested.

    Raises:
        UsageError: the seed is no whole number.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise UsageError(f"seed is {seed!r:.40}; give a whole number")
    with _ONE_AT_A_TIME, ExitStack() as stack:
        for get, put in STATES:
            with suppress(OSError):  # a working folder that is gone
                stack.callback(put, get())
        stack.enter_context(warnings.catch_warnings())
        torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.manual_seed(seed_of(seed, "world"))
        np.random.seed(seed_of(seed, "world") % 2**32)
        random.seed(seed_of(seed, "world"))
        yield


def _gpu_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _put_gpu_states(states: list[torch.Tensor]) -> None:
    if states:
        torch.cuda.set_rng_state_all(states)


def _deterministic() -> tuple[bool, bool, bool, bool]:
    cudnn = torch.backends.cudnn
    strict = torch.are_deterministic_algorithms_enabled()
    return strict, torch.is_deterministic_algorithms_warn_only_enabled(), cudnn.deterministic, cudnn.benchmark


def _put_deterministic(flags: tuple[bool, bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags[2:]


def _put_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _logging() -> tuple[int, list[logging.Handler], int]:
    root = logging.getLogger()
    return root.level, list(root.handlers), root.manager.disable


def _put_logging(state: tuple[int, list[logging.Handler], int]) -> None:
    root = logging.getLogger()
    root.setLevel(state[0])
    root.handlers[:] = state[1]
    root.manager.disable = state[2]


STATES: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_rng_state, torch.set_rng_state),
    (_gpu_states, _put_gpu_states),
    (np.random.get_state, np.random.set_state),
    (random.getstate, random.setstate),
    (_deterministic, _put_deterministic),
    (torch.get_num_threads, torch.set_num_threads),
    (os.getcwd, os.chdir),
    (lambda: dict(os.environ), _put_environment),
    (_logging, _put_logging),
)
"""What a call may change in a process: how it is read, and put back."""
