"""A whole network for a task in place of an encoder, by the way in to it: ``model:hf:ORG/NAME(size=512)``."""

from brittle.core.traits import EncoderTraits


def model(argument: str, /) -> None:
    """What stands after the colon is a spec of its own, of a component of ``models``.

    Args:
        argument: way in and name, such as ``timm:resnet50.a1_in1k``.
    """
    raise AssertionError(f"model:{argument} stands for a component of models")  # which is asked in its place


def fingerprint(argument: str, /) -> str:
    """As ``model``."""
    raise AssertionError(f"model:{argument} stands for a component of models")


TRAITS = EncoderTraits(names="models", fingerprint=fingerprint)
