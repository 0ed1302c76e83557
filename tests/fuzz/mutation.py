"""How valid input is made invalid: bytes, words and plain data, each drawn from a generator with a seed."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 2**40, 2**63, 1e308, -1.5, "", "x" * 5000, "\0", "../../x", [], {}, [[[]]]),
    *("py:CANARY:f", "nan", "\x1b[2J", [None] * 50, {"": ""}, "hf:ORG/NAME", "embedded:dino"),
)
WORDS = (
    *(
        "(",
        ")",
        "[",
        "]",
        "=",
        ",",
        ":",
        "'",
        '"',
        "/",
        "\\",
        "\n",
        "\0",
        "\r",
        "\t",
        " ",
        "#",
        "&a",
        "*a",
        "!!int",
        "%",
    ),
    *("nan", "inf", "-1", "1e999", "9" * 400, "8/0", "0x1", "true", "null", "()", "(((((", "é", "犬", "\ud800", "\x1b"),
    *(
        "---",
        "...",
        "? ",
        "- ",
        "<<: ",
        "{",
        "}",
        "|",
        ">",
        "@",
        "`",
        "~",
        "!!python/object/apply:os.system [touch CANARY]",
    ),
)


def bytes_of(draw: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four of: bits flipped, a number put in, a piece cut, doubled, moved or taken from another input."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        start, length = draw.randrange(len(changed) + 1), draw.choice((1, 2, 4, 16, 100, len(changed)))
        if draw.random() < 0.4:
            start = draw.randrange(min(len(changed), 200) + 1)  # headers are where the meaning is
        piece = slice(start, start + length)
        match draw.randrange(8):
            case 0 | 1:
                for _ in range(draw.choice((1, 1, 3, 20))):
                    if changed:
                        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            case 2:
                size, order = draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
                changed[start : start + size] = (draw.choice(NUMBERS) % 256**size).to_bytes(size, order)
            case 3:
                del changed[start:]
            case 4:
                del changed[piece]
            case 5:
                changed[start:start] = changed[piece]
            case 6:
                changed[piece] = draw.randbytes(min(length, 64))
            case _:
                other = draw.choice(others)
                place = draw.randrange(len(other) + 1)
                changed[start:] = other[place:]
    return bytes(changed)


def text_of(draw: random.Random, text: str, others: Sequence[str]) -> str:
    """Words put in, characters cut, doubled or exchanged, pieces of other inputs."""
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        start, length = draw.randrange(len(text) + 1), draw.choice((1, 1, 3, 10))
        match draw.randrange(5):
            case 0 | 1:
                text = text[:start] + draw.choice(WORDS) + text[start:]
            case 2:
                text = text[:start] + text[start + length :]
            case 3:
                text = text[:start] + text[start : start + length] * draw.choice((2, 2, 50)) + text[start + length :]
            case _:
                other = draw.choice(others)
                place = draw.randrange(len(other) + 1)
                text = text[:start] + other[place : place + 20] + text[start:]
    return text


def json_of(draw: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A value anywhere within replaced, removed or renamed; or the bytes themselves changed."""
    if draw.random() < 0.3:
        return bytes_of(draw, data, others)
    content = json.loads(data)
    for _ in range(draw.choice((1, 1, 2))):
        places = list(_places(content))
        if not places:
            break
        holder, key = draw.choice(places)
        action = draw.randrange(4)
        if action == 0 and isinstance(holder, dict):
            holder[str(key) + draw.choice(("", "_", "\0"))] = holder.pop(key)
        elif action == 1:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw.choice(VALUES))
    return json.dumps(content).encode()


def _places(node: Any) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield node, key
        yield from _places(value)


Mutation = Callable[[random.Random, Any, Sequence[Any]], Any]
