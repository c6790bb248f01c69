# ruff: noqa: RUF001 - broken and curly characters are the point
import gzip
import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from tests.support.strings import generated_strings
from vopcli.clip.tokenizer import END_OF_TEXT, START_OF_TEXT, Tokenizer
from vopcli.resources import packaged_file

SOT, EOT = 49406, 49407


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


@pytest.fixture(scope="module")
def merges() -> dict[tuple[str, str], int]:
    """Rank of each merge, read the plain way."""
    with gzip.open(packaged_file("bpe/bpe_simple_vocab_16e6.txt.gz"), "rt", encoding="utf-8") as lines:
        pairs = [tuple(line.split()) for line in lines][1 : 49152 - 256 - 2 + 1]
    return {(first, second): rank for rank, (first, second) in enumerate(pairs)}


def test_goldens(tokenizer: Tokenizer) -> None:
    ids, num_cut = tokenizer.tokenize(["a squid is talking", ""])
    assert ids.tolist() == [[49406, 320, 22553, 533, 2578, 49407], [49406, 49407, 0, 0, 0, 0]]
    assert ids.dtype == np.int64
    assert num_cut == 0
    assert (START_OF_TEXT, END_OF_TEXT) == (SOT, EOT)


def test_case_space_and_entities_do_not_matter(tokenizer: Tokenizer) -> None:
    plain = tokenizer.encode("rock & roll")
    for text in [
        "Rock & Roll",
        "  rock\n&\troll ",
        "rock &amp; roll",
        "rock &amp;amp; roll",
        "ROCK\x00 & ROLL",
    ]:
        assert tokenizer.encode(text) == plain
    tags = tokenizer.encode("<b>rock & roll")  # ftfy leaves entities alone beside a tag
    assert tokenizer.encode("<b>rock &amp;amp; roll") == tags


def test_broken_encoding_is_mended(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("cafÃ© â€“ naÃ¯ve") == tokenizer.encode("café – naïve")
    assert tokenizer.encode("“curly” it’s") == tokenizer.encode('"curly" it\'s')


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "<|startoftext|>", "<end_of_text>", "a <|EndOfText|> b", "</w>"]
)
def test_special_text_is_ordinary(tokenizer: Tokenizer, text: str) -> None:
    ids, num_cut = tokenizer.tokenize([text])
    assert ids[0, 0] == SOT
    assert ids[0, -1] == EOT
    assert ids[0, 1:-1].max() < SOT
    assert len(ids[0]) > 4
    assert num_cut == 0


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udcffb", "\ud83d\ude00", "\x00", "\ufffe", "\U0010ffff", "\ufeff", "&#xD800;"]
)
def test_odd_characters_are_taken(tokenizer: Tokenizer, text: str) -> None:
    assert all(0 <= token < SOT for token in tokenizer.encode(text))


def test_long_text_is_cut_and_counted(tokenizer: Tokenizer) -> None:
    exact, longer = "dog " * 75, "dog " * 76
    ids, num_cut = tokenizer.tokenize([exact, longer, "dog"])
    assert ids.shape == (3, 77)
    assert num_cut == 1
    assert ids[0].tolist() == ids[1].tolist() == [SOT, *[1929] * 75, EOT]
    assert ids[2].tolist() == [SOT, 1929, EOT, *[0] * 74]
    ids, num_cut = tokenizer.tokenize([exact, "dog dog dog"], max_tokens=5)
    assert ids.tolist() == [[SOT, 1929, 1929, 1929, EOT]] * 2
    assert num_cut == 1
    ids, num_cut = tokenizer.tokenize(["dog", ""], max_tokens=2)
    assert ids.tolist() == [[SOT, EOT]] * 2
    assert num_cut == 1


def test_cut_in_the_middle_of_a_word(tokenizer: Tokenizer) -> None:
    word = "zqxjv" * 40
    ids, num_cut = tokenizer.tokenize([word], max_tokens=10)
    assert ids[0].tolist() == [SOT, *tokenizer.encode(word)[:8], EOT]
    assert num_cut == 1


def test_stopping_early_changes_nothing(tokenizer: Tokenizer) -> None:
    texts = [text for text in generated_strings(1500, seed=3) if text]
    for max_tokens in (3, 8, 77):
        room = max_tokens - 2
        ids, num_cut = tokenizer.tokenize(texts, max_tokens=max_tokens)
        whole = [tokenizer.encode(text) for text in texts]
        assert num_cut == sum(len(tokens) > room for tokens in whole)
        for row, tokens in zip(ids, whole, strict=True):
            kept = [SOT, *tokens[:room], EOT]
            assert row.tolist() == kept + [0] * (len(row) - len(kept))


def test_batch_is_as_long_as_its_longest_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.tokenize(["dog", "a dog"])[0].shape == (2, 4)
    assert tokenizer.tokenize([])[0].shape == (0, 2)


def test_what_cannot_be_tokenized(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="max_tokens is 1"):
        tokenizer.tokenize(["dog"], max_tokens=1)
    with pytest.raises(ValueError, match="a single string"):
        tokenizer.tokenize("dog")


def plain_merge(word: str, merges: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair merging as it is defined: over and over the earliest merge, wherever it occurs."""
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        ranks = [merges.get(pair, len(merges)) for pair in pairwise(symbols)]
        best = min(ranks, default=len(merges))
        if best == len(merges):
            return symbols
        merged, place = [], 0
        while place < len(symbols):
            if place < len(ranks) and ranks[place] == best:
                merged.append(symbols[place] + symbols[place + 1])
                place += 2
            else:
                merged.append(symbols[place])
                place += 1
        symbols = merged


@pytest.mark.parametrize("alphabet", ["a", "ab", "lo", "ahs", "abcdefghijklmnopqrstuvwxyz"])
def test_long_word_merges_like_the_plain_way(
    tokenizer: Tokenizer, merges: dict[tuple[str, str], int], alphabet: str
) -> None:
    rng = random.Random(5)  # noqa: S311 - test data
    for length in (1, 2, 3, 17, 500):
        word = "".join(rng.choice(alphabet) for _ in range(length))
        expected = [
            512 + merges[split] if (split := last_merge(symbol, merges)) else single(symbol)
            for symbol in plain_merge(word, merges)
        ]
        assert tokenizer.encode(word) == expected


def last_merge(symbol: str, merges: dict[tuple[str, str], int]) -> tuple[str, str] | None:
    """The merge that made a symbol; there is only one."""
    splits = [(symbol[:cut], symbol[cut:]) for cut in range(1, len(symbol))]
    return next((split for split in splits if split in merges), None)


def single(symbol: str) -> int:
    return ord(symbol[0]) - ord("!") + (256 if symbol.endswith("</w>") else 0)


def test_merges_allow_a_heap(merges: dict[tuple[str, str], int]) -> None:
    """No two merges make the same token, and none comes before those that make its parts."""
    made = {"".join(pair): rank for pair, rank in merges.items()}
    assert len(made) == len(merges) == 48894
    assert all(made.get(part, -1) < rank for pair, rank in merges.items() for part in pair)


def test_very_long_word_takes_no_quadratic_time(tokenizer: Tokenizer) -> None:
    """With a scan of the word for each merge this would take the better part of an hour."""
    word = "ab" * 100_000
    tokens = tokenizer.encode(word)
    assert tokenizer.tokenize([word])[0][0, 1:-1].tolist() == tokens[:75]
    assert set(tokens[1:-1]) == {tokens[1]}


def test_plain_query_loads_nothing_heavy() -> None:
    code = (
        "import sys; from vopcli.clip.tokenizer import Tokenizer; "
        'Tokenizer().tokenize(["a dog\'s tail, 3 times"]); '
        "print([name for name in ('torch', 'ftfy', 'regex', 'html', 'gzip') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
