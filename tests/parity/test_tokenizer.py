"""Token ids against open_clip's tokenizer and transformers', on more than 20,000 generated strings.

Both treat the text of their special tokens as the tokens themselves; here it is ordinary text, so their rules
for it are taken out first. transformers neither mends encodings nor resolves entities: it gets clean text.
"""

import html
import unicodedata

import ftfy
import open_clip.tokenizer
import pytest
import regex
from tokenizers import Regex, pre_tokenizers
from transformers import CLIPTokenizer

from tests.support.strings import generated_strings
from vopcli.clip.tokenizer import Tokenizer

COUNTS = [2_400, pytest.param(12_000, marks=pytest.mark.slow)]
PIECE = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@pytest.fixture(scope="module", params=COUNTS)
def strings(request: pytest.FixtureRequest) -> list[str]:
    return list(generated_strings(request.param))


@pytest.fixture(scope="module")
def ours(strings: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer()
    return [tokenizer.encode(text) for text in strings]


@pytest.fixture(scope="module")
def open_clip_tokenizer() -> open_clip.tokenizer.SimpleTokenizer:
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    tokenizer.pat = regex.compile(PIECE, regex.IGNORECASE)
    tokenizer.cache = {}
    return tokenizer


def test_equals_open_clip(
    strings: list[str],
    ours: list[list[int]],
    open_clip_tokenizer: open_clip.tokenizer.SimpleTokenizer,
) -> None:
    assert len(set(strings)) > len(strings) * 5 // 6
    theirs = [open_clip_tokenizer.encode(text) for text in strings]
    assert [(text, a, b) for text, a, b in zip(strings, ours, theirs, strict=True) if a != b] == []


def test_equals_transformers(
    strings: list[str],
    ours: list[list[int]],
    open_clip_tokenizer: open_clip.tokenizer.SimpleTokenizer,
) -> None:
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {renamed.get(token, token): number for token, number in open_clip_tokenizer.encoder.items()}
    theirs = CLIPTokenizer(vocab=vocab, merges=list(open_clip_tokenizer.bpe_ranks))
    theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    cleaned = [
        " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower() for text in strings
    ]
    found = theirs(cleaned, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    compared = [number for number, text in enumerate(cleaned) if is_read_alike(text)]
    assert len(compared) > len(strings) * 5 // 6
    assert [
        (cleaned[number], ours[number], found[number]) for number in compared if ours[number] != found[number]
    ] == []


def is_read_alike(cleaned: str) -> bool:
    """Whether transformers' rules agree with OpenAI's on this text.

    Its tables are of another version of Unicode, and its pattern minds the case: OpenAI's does not,
    so that a long s makes a contraction and a combining iota counts as a letter.
    """
    return (
        "'\N{LATIN SMALL LETTER LONG S}" not in cleaned
        and "\N{COMBINING GREEK YPOGEGRAMMENI}" not in cleaned
        and not any(unicodedata.category(character) == "Cn" for character in cleaned)
    )
