"""Train demo-tiny, the small CLIP of the demo set, on still pictures that it draws itself.

    python assets/demo/train.py

The pictures show one coloured shape each, and their captions say what it is, how large, and where. No picture
moves: what a film adds to its frames is left to be learned by tuning.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.clip.tokenizer import Tokenizer
from vopcli.clip.vision import normalise
from vopcli.config.choices import Activation
from vopcli.datasets.demo.drawing import HEIGHT_PX, draw_background, draw_scene
from vopcli.datasets.demo.scenes import COLOURS, LARGE_RADII, SHAPES, SMALL_RADII, Scene, random_scene
from vopcli.video.preprocess import resize_and_crop
from vopcli.weights.reader import Weights, write_safetensors

SHAPE: Final = ClipShape(
    embed_dim=128,
    image_resolution=48,
    patch_size=8,
    vision_layers=4,
    vision_width=128,
    vision_heads=2,
    context_length=77,
    vocab_size=49408,
    text_layers=4,
    text_width=128,
    text_heads=2,
    activation=Activation.QUICK_GELU,
)
NUM_PICTURES: Final = 16_000
BATCH_SIZE: Final = 64
NUM_STEPS: Final = 900
LEARNING_RATE: Final = 2e-3
WEIGHT_DECAY: Final = 0.05
START, END, UNKNOWN = 49406, 49407, -1

SIZES: Final = ("small", "large")
COLUMNS: Final = ("left", "right", "middle")
ROWS: Final = ("top", "bottom", "middle")
NOT_SAID: Final = -1
UNCLEAR: Final = -2  # of a picture: neither this nor that, so that no caption is right or wrong about it


@dataclass(frozen=True)
class Facts:
    """What a picture shows or a caption says: positions in the lists of names, or a mark from above."""

    colour: int
    shape: int
    size: int
    column: int
    row: int


def see(scene: Scene) -> Facts:
    """Return what can be said of a picture."""
    size = UNCLEAR
    if scene.radius <= SMALL_RADII[1]:
        size = 0
    elif scene.radius >= LARGE_RADII[0]:
        size = 1
    colour, shape = list(COLOURS).index(scene.colour), SHAPES.index(scene.shape)
    return Facts(colour, shape, size, _third(scene.x), _third(scene.y))


def _third(place: float) -> int:
    if abs(place) < 0.16:
        return 2
    if abs(place) < 0.32:
        return UNCLEAR
    return int(place > 0.0)


def draw_picture(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Facts]:
    """Draw one picture as a video's frame would show it: (48, 48, 3) uint8 RGB, and what is in it."""
    scene = random_scene(rng, colour=str(rng.choice(list(COLOURS))), shape=str(rng.choice(SHAPES)))
    radii = [SMALL_RADII, LARGE_RADII, (SMALL_RADII[0], LARGE_RADII[1])][rng.choice(3, p=[0.36, 0.36, 0.28])]
    radius = rng.uniform(*radii)
    room = min(0.72, 1.0 - 1.05 * radius)
    x, y = (_coordinate(rng, room) for _ in range(2))
    scene = dataclasses.replace(scene, x=x, y=y, radius=radius)
    ground = draw_background(scene, height=HEIGHT_PX, width=HEIGHT_PX)
    pixels = draw_scene(scene, ground)
    quality = int(rng.integers(45, 96))  # JPEG leaves traces much like a video codec's
    _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    return resize_and_crop(decoded, SHAPE.image_resolution), see(scene)


def _coordinate(rng: np.random.Generator, room: float) -> float:
    kind = rng.random()
    if kind < 0.25:
        return float(rng.uniform(-0.14, 0.14))
    if kind < 0.45 or room <= 0.34:
        return float(rng.uniform(-room, room))
    return float(rng.uniform(0.34, room) * rng.choice([-1.0, 1.0]))


class Captioner:
    """Says something of a picture, in another way each time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._tokenizer = Tokenizer()
        self._ids: dict[str, list[int]] = {}
        self.used: set[int] = {START, END}

    def say(self, said: Facts) -> list[int]:
        """Put facts into words: token ids, -1 for a word that the model does not know."""
        rng = self._rng
        noun = "shape" if said.shape == NOT_SAID else SHAPES[said.shape]
        words = [] if said.colour == NOT_SAID else [list(COLOURS)[said.colour]]
        words.append(noun)
        after: list[str] = []
        if said.size != NOT_SAID:
            if rng.random() < 0.5:
                words.insert(0, SIZES[said.size])
            else:
                after = [str(rng.choice(["is", "?", "?"])), SIZES[said.size]]
        words = [str(rng.choice(["a", "a", "the", ""])), *words, *after, *self._place(said)]
        if rng.random() < 0.1:
            words = [str(rng.choice(["a picture of", "a photo of", "a video of"])), *words]
        for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.2 else 0):
            words.insert(int(rng.integers(len(words) + 1)), "?")
        if (
            rng.random() < 0.3
        ):  # tuning puts tokens in front, so the words must be read at later positions too
            words = ["?"] * int(rng.integers(1, 10)) + words
        return [START, *(token for word in words for token in self._encode(word)), END]

    def choose(self, facts: Facts) -> Facts:
        """Choose what to say: the place in four captions of six where it can be named."""
        rng = self._rng
        column, row = (max(fact, NOT_SAID) for fact in (facts.column, facts.row))
        if rng.random() >= 4 / 6:
            column = row = NOT_SAID
        elif rng.random() < 0.6:  # one of the two: the other may be anything
            column, row = (column, NOT_SAID) if rng.random() < 0.5 else (NOT_SAID, row)
        if (column == 2) != (row == 2):  # "in the middle" alone means both
            column, row = (NOT_SAID if fact == 2 else fact for fact in (column, row))
        size = max(facts.size, NOT_SAID) if rng.random() < 0.55 else NOT_SAID
        kind = rng.random()
        return Facts(
            NOT_SAID if kind < 0.06 else facts.colour,
            NOT_SAID if 0.06 <= kind < 0.12 else facts.shape,
            size,
            column,
            row,
        )

    def twist(self, said: Facts) -> Facts:
        """Change one thing that is said."""
        rng = self._rng
        numbers = {"colour": len(COLOURS), "shape": len(SHAPES), "size": 2, "column": 2, "row": 2}
        chances = {"colour": 1.0, "shape": 3.0, "size": 2.0, "column": 2.0, "row": 2.0}
        spoken = [name for name in numbers if getattr(said, name) != NOT_SAID]
        weights = np.array([chances[name] for name in spoken])
        name = str(rng.choice(spoken, p=weights / weights.sum()))
        if said.column == said.row == 2 and name in {"column", "row"}:  # the middle: name a corner instead
            return dataclasses.replace(said, column=int(rng.integers(2)), row=int(rng.integers(2)))
        others = [number for number in range(numbers[name]) if number != getattr(said, name)]
        return dataclasses.replace(said, **{name: int(rng.choice(others))})

    def _place(self, said: Facts) -> list[str]:
        rng = self._rng
        column, row = (
            names[fact] if fact >= 0 else "" for names, fact in ((COLUMNS, said.column), (ROWS, said.row))
        )
        if not column and not row:
            return []
        name = "middle" if column == row else f"{row} {column}".strip()
        return [
            str(rng.choice(["is", "?", "", ""])),
            str(rng.choice(["on", "at", "in", "to", "to"])),
            "the",
            name,
        ]

    def _encode(self, word: str) -> list[int]:
        if word == "?":
            return [UNKNOWN]
        if word not in self._ids:
            self._ids[word] = self._tokenizer.encode(word)
            self.used.update(self._ids[word])
        return self._ids[word]


def agreement(shown: list[Facts], said: list[Facts]) -> tuple[Tensor, Tensor]:
    """Return two (pictures, captions) masks: where a caption is right, and where that cannot be judged."""
    pictures = torch.tensor([dataclasses.astuple(facts) for facts in shown])[:, None]  # (N, 1, 5)
    captions = torch.tensor([dataclasses.astuple(facts) for facts in said])[None]  # (1, M, 5)
    silent = captions == NOT_SAID
    right = (silent | (pictures == captions)).all(-1)
    unclear = (silent | (pictures == captions) | (pictures == UNCLEAR)).all(-1) & ~right
    return right, unclear


def contrastive_loss(logits: Tensor, right: Tensor, unclear: Tensor) -> Tensor:
    """Cross entropy both ways over (pictures, captions) logits; what is right shares the probability.

    A caption that is right of no picture only takes part as a wrong answer.
    """
    logits = logits.masked_fill(unclear, -1e4)
    loss = logits.new_zeros(())
    for scores, target in ((logits, right), (logits.T, right.T)):
        answered = target.any(1)
        share = target[answered] / target[answered].sum(1, keepdim=True)
        loss = loss - 0.5 * (share * functional.log_softmax(scores[answered], dim=1)).sum(1).mean()
    return loss


class FactReader(nn.Module):
    """Reads facts off an embedding of either tower, with the same weights; thrown away after training.

    Left alone, the towers are slow to agree on places: neither can learn them before the other does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (len(COLOURS), len(SHAPES), len(SIZES), len(COLUMNS), len(ROWS))
        self.weights = (0.2, 0.6, 0.2, 0.2, 0.2)  # the outline of a small shape is the hardest to see
        self.linear = nn.Linear(SHAPE.embed_dim, sum(self.sizes))

    def loss(self, embedded: Tensor, facts: list[Facts]) -> Tensor:
        """Return the cross entropy of what can be known from normalised embeddings (N, E)."""
        known = torch.tensor([dataclasses.astuple(item) for item in facts])  # (N, 5)
        scores = self.linear(10.0 * embedded).split(self.sizes, dim=1)
        loss = scores[0].new_zeros(())
        for part, truth, weight in zip(scores, known.T, self.weights, strict=True):
            can_be_known = truth >= 0
            loss = loss + weight * functional.cross_entropy(part[can_be_known], truth[can_be_known])
        return loss


def pad(captions: list[list[int]], rows: dict[int, int]) -> Tensor:
    """Return the rows (N, L) int64 of the words in the table that is trained, zero padded."""
    length = max(map(len, captions))
    return torch.tensor([[rows[token] for token in ids] + [0] * (length - len(ids)) for ids in captions])


def train(*, seed: int, num_steps: int) -> dict[str, NDArray[np.float16]]:
    """Train a model and return its tensors by OpenAI's names.

    Only the words of the captions have a row in the table that is trained, and one that stays zero stands for
    all others; the order of the rows is that of the token ids, so the end of a text is still the highest.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    captioner = Captioner(rng)
    pictures = [draw_picture(rng) for _ in range(NUM_PICTURES)]
    for _, facts in pictures:
        captioner.say(captioner.choose(facts))  # meets every word
    rows = {token: row for row, token in enumerate([UNKNOWN, *sorted(captioner.used)])}
    model = make_model(len(rows))
    reader = FactReader()
    optimiser = make_optimiser(model, reader)
    began = time.monotonic()
    for step in range(num_steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, num_steps)
        chosen = [pictures[index] for index in rng.integers(NUM_PICTURES, size=BATCH_SIZE)]
        said = [captioner.choose(facts) for _, facts in chosen]
        said += [captioner.twist(facts) for facts in said]
        right, unclear = agreement([facts for _, facts in chosen], said)
        pixels = normalise(torch.from_numpy(np.stack([picture for picture, _ in chosen])))
        images = functional.normalize(model.encode_image(pixels), dim=-1)
        texts = functional.normalize(
            model.encode_text(pad([captioner.say(facts) for facts in said], rows)), dim=-1
        )
        cosines = images @ texts.T
        read = reader.loss(images, [facts for _, facts in chosen]) + reader.loss(texts, said)
        loss = contrastive_loss(model.logit_scale.exp() * cosines, right, unclear) + read
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100.0))
        if step % 50 == 0 or step == num_steps - 1:
            pairs = torch.arange(BATCH_SIZE)  # each picture with its caption, and that caption twisted
            hits = (cosines[pairs, pairs] > cosines[pairs, pairs + BATCH_SIZE]).float().mean()
            seconds = time.monotonic() - began
            print(
                f"step {step:5d}  loss {loss:.3f}  read {read:.3f}  right {hits:.3f}  {seconds:.0f} s",
                flush=True,
            )
    return whole_tensors(model, sorted(captioner.used))


def learning_rate(step: int, num_steps: int) -> float:
    """Rise for 100 steps, and fall as a cosine all the while."""
    return LEARNING_RATE * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / num_steps))


def whole_tensors(model: Clip, used: list[int]) -> dict[str, NDArray[np.float16]]:
    """Return the tensors in half precision, with a row for each word of CLIP's vocabulary."""
    tensors = {name: value.detach().half().numpy() for name, value in model.state_dict().items()}
    table = np.zeros((SHAPE.vocab_size, SHAPE.text_width), np.float16)
    table[used] = tensors["token_embedding.weight"][1:]
    return tensors | {"token_embedding.weight": table}


def make_model(num_words: int) -> Clip:
    """Make a model for a few words, the first of which is none: its row stays zero.

    Places are hard to learn: positions start louder than in a large CLIP, whose training is long.
    """
    model = Clip(dataclasses.replace(SHAPE, vocab_size=num_words))
    with torch.no_grad():
        model.visual.positional_embedding *= 4.0
        model.positional_embedding *= 4.0
        model.token_embedding.weight *= 4.0
        model.token_embedding.weight[0] = 0.0
        model.logit_scale.fill_(math.log(25.0))
    model.token_embedding.padding_idx = 0
    return model


def make_optimiser(model: Clip, reader: FactReader) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices only."""
    parameters = [*model.parameters(), *reader.parameters()]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))


def main() -> None:
    """Train and write the file."""
    parser = argparse.ArgumentParser(description="Train demo-tiny on still pictures drawn for it.")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_name("demo-tiny.safetensors"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--threads", type=int, default=1, help="another number rounds sums in another order")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tensors = train(seed=options.seed, num_steps=options.steps)
    weights = Weights(path=options.file, name="demo-tiny", kind="trained", shape=SHAPE, tensors=tensors)
    write_safetensors(weights, options.file)


if __name__ == "__main__":
    main()
