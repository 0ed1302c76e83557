"""Your own ``nn.Module``, from a function in a module or a file that you name: ``py:mymodels.robust`` or
``py:models/mine.py:robust``.

Naming it runs that file: ``py:`` is the only encoder that does, and it is never used by default.
"""

from functools import lru_cache
from typing import Any

from torch import nn

from brittle.core import files
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import own_code, own_function
from brittle.encoders.parts.own_module import as_encoder
from brittle.encoders.parts.wrappers import Size, sha256_of_weights
from brittle.types import Encoder


def py(argument: str, /, *, size: Size = 0, patch: Size = 0) -> Encoder:
    """The module that a function of yours returns.

    Args:
        argument: MODULE.FUNCTION (from the working folder or installed) or FILE.py:FUNCTION; the function takes no
            arguments.
        size: edge of the images it is used at; 0 for the module's ``size``, else 224.
        patch: edge in pixels of a cell of its grid; 0 for the module's ``patch``, else measured.

    Raises:
        MissingError: no such module, file or function.
        UsageError: its file or the function stops, or it returns something other than a module with known outputs.
    """
    module, _ = own_function.built(argument)
    sha = sha256_of_weights(module)
    identity = files.mixed(_joined(argument, module, sha), size=size, patch=patch)
    return as_encoder(module, f"py:{argument}", sha256=sha, fingerprint=identity, size=size, patch=patch)


def fingerprint(argument: str, /, *, size: int = 0, patch: int = 0) -> str:
    """A hash over the source file and the module's weights, which are made once for each version of the file."""
    return files.mixed(_own(argument, files.sha256_of_file(own_function.source(argument)[0])), size=size, patch=patch)


@lru_cache(maxsize=16)
def _own(argument: str, _source_sha: str) -> str:
    module, _ = own_function.built(argument)
    return _joined(argument, module, sha256_of_weights(module))


def _joined(argument: str, module: nn.Module, weights: str) -> str:
    source, name = own_function.source(argument)
    return own_code.fingerprint(module, name, source, weights)


def foreign(**_settings: Any) -> str:
    """Naming a file runs it."""
    return "runs a file"


TRAITS = EncoderTraits(fingerprint=fingerprint, foreign=foreign)
