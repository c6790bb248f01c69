# ruff: noqa: RUF001 - characters that look like others are the point
"""Generated texts for the tokenizer: what people type, paste and mangle."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

WORDS = """
a the dog cat's it's they're I'M we'd you'll hadn't squid talking playing with its tail naïve café
straße ΟΔΟΣ σοφός привет мир 你好世界 今日は 안녕하세요 مرحبا שלום हिन्दी ภาษาไทย İstanbul ǅungla 'ſtop ʼn ﬁne
Ａｂｃ １２３ ½ Ⅷ x² 42 3.14 2026-01-02 #tag @you http://a.b/c?d=e&f=g user@host.org C++ e.g. ... ---
"quoted" “curly” ‘single’ antidisestablishmentarianism supercalifragilistic aaaaaaaaaaaa hahahahaha
zzz
""".split()  # noqa: SIM905 - far shorter than a list
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧", "🏴\U000e0067\U000e0062\U000e0065\U000e007f", "🇩🇪", "❤️", "☕", "🤷‍♀️", "1️⃣"]
ENTITIES = """
&amp; &lt;b&gt; &amp;amp; &quot; &#39; &#x27; &nbsp; &eacute; &EACUTE; &notit; &copy &#128512;
&#xD800; &#0; &#x85; &amp;#x41; &bogus; & &; &#; &#x; &amp;lt; &hellip; &thinsp;
""".split()  # noqa: SIM905 - far shorter than a list
SPECIAL = [
    "<|endoftext|>",
    "<|startoftext|>",
    "<|ENDOFTEXT|>",
    "<end_of_text>",
    "<start_of_text>",
    "</w>",
    "<|pad|>",
    "a<|endoftext|>b",
]
SPACES = [
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u2028",
    "\u200b",
    "\x85",
    "",
]


def _words(rng: random.Random) -> str:
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(0, 20)))


def _ascii(rng: random.Random) -> str:
    return "".join(chr(rng.randint(0x20, 0x7E)) for _ in range(rng.randint(0, 40)))


def _plain_and_lines(rng: random.Random) -> str:
    return "".join(
        rng.choice("ab'st <>&;#\t\r\n\x0b\x0c\x1c\x1f\x7f\x1b[31m") for _ in range(rng.randint(1, 30))
    )


def _controls(rng: random.Random) -> str:
    return "".join(chr(rng.choice([rng.randint(0, 0x1F), rng.randint(0x7F, 0x9F), 0x61])) for _ in range(12))


def _any_unicode(rng: random.Random) -> str:
    return "".join(chr(rng.randint(0, 0x10FFFF)) for _ in range(rng.randint(1, 15)))


def _low_unicode(rng: random.Random) -> str:
    return "".join(chr(rng.randint(0x20, 0x2FF)) for _ in range(rng.randint(1, 30)))


def _basic_plane(rng: random.Random) -> str:
    return "".join(chr(rng.randint(0x300, 0xD7FF)) for _ in range(rng.randint(1, 20)))


def _surrogates(rng: random.Random) -> str:
    return "".join(
        rng.choice(["a", " ", chr(rng.randint(0xD800, 0xDFFF))]) for _ in range(rng.randint(1, 12))
    )


def _emoji(rng: random.Random) -> str:
    return "".join(rng.choice([*EMOJI, " ", "ok"]) for _ in range(rng.randint(1, 12)))


def _entities(rng: random.Random) -> str:
    return "".join(rng.choice([*ENTITIES, "a", " ", "<"]) for _ in range(rng.randint(1, 10)))


def _mojibake(rng: random.Random) -> str:
    text = _words(rng)
    for _ in range(rng.randint(1, 2)):
        wrong = rng.choice(["latin-1", "cp1252", "cp1251", "mac-roman", "cp437"])
        text = text.encode("utf-8", errors="replace").decode(wrong, errors="replace")
    return text


def _raw_bytes(rng: random.Random) -> str:
    """What a shell hands over for bytes that are not UTF-8."""
    return rng.randbytes(rng.randint(1, 20)).decode("utf-8", errors="surrogateescape")


def _special(rng: random.Random) -> str:
    return "".join(rng.choice([*SPECIAL, "a ", " ", "dog"]) for _ in range(rng.randint(1, 6)))


def _long_word(rng: random.Random) -> str:
    alphabet = rng.choice(
        ["ab", "a", "aeinost", "0123456789", "é", "!?.", "日本語", "abcdefghijklmnopqrstuvwxyz"]
    )
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([50, 150, 400])))


def _long_text(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(300))


# Each kind with its share in a hundred.
KINDS: list[tuple[int, Callable[[random.Random], str]]] = [
    (20, _words),
    (10, _ascii),
    (8, _plain_and_lines),
    (5, _controls),
    (8, _any_unicode),
    (8, _low_unicode),
    (6, _basic_plane),
    (5, _surrogates),
    (6, _emoji),
    (8, _entities),
    (6, _mojibake),
    (4, _raw_bytes),
    (4, _special),
    (1, _long_word),
    (1, _long_text),
]


def generated_strings(count: int, *, seed: int = 0) -> Iterator[str]:
    """``count`` strings, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - test data
    shares, makers = zip(*KINDS, strict=True)
    for make in rng.choices(makers, weights=shares, k=count):
        yield make(rng)
