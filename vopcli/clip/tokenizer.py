"""CLIP's byte-pair tokenizer: lower-cased text to token ids, without torch and with a fast start.

Text is cleaned with ftfy, HTML entities are resolved (twice) and white space is collapsed. Pieces and merges
are those of OpenAI's vocabulary. ``<|endoftext|>`` in a text is ordinary text: only `tokenize` adds special
tokens.

Axes: N texts, L tokens.
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vopcli.resources import packaged_file

START_OF_TEXT = 49406
END_OF_TEXT = 49407
MAX_TOKENS = 77

_VOCABULARY = "bpe/bpe_simple_vocab_16e6.txt.gz"
_NUM_MERGES = 48894
_MERGES_BYTES = 524644  # of the first line and the merges in use; the rest stays packed
_WORD_END = "</w>"
_CACHED_WORDS = 65536
_CACHED_WORD_BYTES = 64

# Text of these characters is left alone by ftfy and html.unescape, but for line ends.
_PLAIN = re.compile(r"[\t\n\r\x20-\x25\x27-\x7e]*")
_ASCII_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")
_PIECE = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


class Tokenizer:
    """Map texts to token ids with the packaged vocabulary."""

    def __init__(self) -> None:
        packed = packaged_file(_VOCABULARY).read_bytes()
        text = zlib.decompressobj(wbits=31).decompress(packed, _MERGES_BYTES).decode()
        lines = text.split("\n")[1 : _NUM_MERGES + 1]
        # Each merge creates a token; ids follow the order of merges: "i n" -> 512.
        self._merges = dict(zip(lines, range(512, 512 + _NUM_MERGES), strict=True))
        self._symbols, self._symbol_ids = _byte_symbols()
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``, without start and end of text."""
        return self._encode(text, limit=None)

    def tokenize(
        self, texts: Sequence[str], *, max_tokens: int = MAX_TOKENS
    ) -> tuple[NDArray[np.int64], int]:
        """Tokenize a batch of texts, padded to the longest one.

        Args:
            texts: any strings, the empty one included.
            max_tokens: maximum length in tokens, start and end of text included; a longer text is truncated
                and still ends in end of text.

        Returns:
            (N, L) ids, zero after the end of each text, with L <= ``max_tokens``; and the number of truncated
            texts.

        Raises:
            ValueError: ``texts`` is a single string, or ``max_tokens`` is less than 2.
        """
        if isinstance(texts, str):
            raise ValueError("need a list of texts, got a single string")  # noqa: TRY004 - public API
        if max_tokens < 2:
            raise ValueError(f"max_tokens is {max_tokens}, start and end of text alone take 2")
        room = max_tokens - 2
        rows = [self._encode(text, limit=room + 1) for text in texts]
        longest = min(room, max(map(len, rows), default=0))
        ids = np.zeros((len(rows), longest + 2), dtype=np.int64)
        ids[:, 0] = START_OF_TEXT
        for row, found in zip(ids, rows, strict=True):
            kept = found[:room]
            row[1 : len(kept) + 1] = kept
            row[len(kept) + 1] = END_OF_TEXT
        return ids, sum(len(found) > room for found in rows)

    def _encode(self, text: str, *, limit: int | None) -> list[int]:
        """Encode up to the word that reaches ``limit`` ids: later words do not change earlier ones."""
        ids: list[int] = []
        for piece in _pieces(_clean(text)):
            ids += self._word_ids(piece)
            if limit is not None and len(ids) >= limit:
                break
        return ids

    def _word_ids(self, word: str) -> list[int]:
        ids = self._cache.get(word)
        if ids is None:
            encoded = word.encode("utf-8", errors="replace")
            ids = self._merge(encoded)
            if len(self._cache) < _CACHED_WORDS and len(encoded) <= _CACHED_WORD_BYTES:
                self._cache[word] = ids
        return ids

    def _merge(self, word: bytes) -> list[int]:
        """Merge the bytes of a word: the earliest merge of the vocabulary first, from left to right.

        A heap of candidates and a linked list of symbols make this n log n. In the vocabulary a merge that
        uses a token comes after the one that creates it, so a new candidate never precedes one already taken.

        For example "low" starts as l o w</w>. The merge "l o" comes first and gives lo w</w>; then "lo w</w>"
        gives low</w>, the id of the whole word.
        """
        symbols = [self._symbols[byte] for byte in word]
        ids = [self._symbol_ids[byte] for byte in word]
        symbols[-1] += _WORD_END
        ids[-1] += 256
        count = len(symbols)
        following = list(range(1, count + 1))
        preceding = list(range(-1, count - 1))
        rank = self._merges.get

        def merged(left: int) -> int | None:
            """Return the id of the token that the symbol at ``left`` and the next one merge to."""
            return rank(f"{symbols[left]} {symbols[following[left]]}")

        heap = [(token, left) for left in range(count - 1) if (token := merged(left)) is not None]
        heapq.heapify(heap)
        while heap:
            token, left = heapq.heappop(heap)
            right = following[left]
            if right >= count or not symbols[left] or merged(left) != token:
                continue  # outdated: one of the two was merged with another neighbour
            symbols[left] += symbols[right]
            symbols[right] = ""
            ids[left] = token
            after = following[left] = following[right]
            if after < count:
                preceding[after] = left
                if (token := merged(left)) is not None:
                    heapq.heappush(heap, (token, left))
            before = preceding[left]
            if before >= 0 and (token := merged(before)) is not None:
                heapq.heappush(heap, (token, before))
        return [ids[index] for index in range(count) if symbols[index]]


def _byte_symbols() -> tuple[list[str], list[int]]:
    """Return the character that stands for each byte in the vocabulary, and the byte's token id.

    Printable bytes stand for themselves and come first; the others are the characters from 256 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    symbols, ids = [""] * 256, [0] * 256
    for token, byte in enumerate(printable + others):
        symbols[byte] = chr(byte) if token < len(printable) else chr(256 + token - len(printable))
        ids[byte] = token
    return symbols, ids


def _clean(text: str) -> str:
    """Repair broken encodings, resolve HTML entities, collapse white space and lower the case."""
    if _PLAIN.fullmatch(text) is None:
        import html

        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _pieces(text: str) -> Iterator[str]:
    """Split clean text into contractions, runs of letters, single digits and runs of other characters."""
    if text.isascii():
        return (match[0] for match in _ASCII_PIECE.finditer(text))
    import regex

    return (match[0] for match in regex.finditer(_PIECE, text, flags=regex.IGNORECASE))
