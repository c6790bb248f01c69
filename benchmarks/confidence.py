"""Judge queries with and without their video by several rules, in galleries of several sizes.

Run: python benchmarks/confidence.py DIR, where the commands of `vop demo DIR` were run before, up to the
training. Embeddings, films and their indexes in DIR are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from side_by_side import markdown_table, write_results
from study import TEST, demo_config

import vopcli
from vopcli.clip.tokenizer import Tokenizer
from vopcli.clip.vision import normalise
from vopcli.config.choices import NormRule, Variant
from vopcli.config.schema import TuningConfig
from vopcli.datasets.demo.drawing import draw_video
from vopcli.datasets.demo.films import FILMS, plan_films, write_films
from vopcli.datasets.demo.folder import RUN, TUNED_EPOCHS, TUNED_VARIANT
from vopcli.datasets.demo.scenes import DemoVideo, plan_demo
from vopcli.datasets.splits import (
    CaptionedStore,
    open_captioned_store,
    split_for_training,
    tokenise_split,
)
from vopcli.evaluation.absent import auroc
from vopcli.evaluation.embed import embed
from vopcli.methods.adapter_file import read_adapter
from vopcli.methods.build import build_tuned, load_tuned
from vopcli.methods.model import VideoTextModel
from vopcli.progress import SilentProgress
from vopcli.resources import cache_folder
from vopcli.search.confidence import WithoutMatch, closest_captions, s_norms_of
from vopcli.search.ranking import choose_engine
from vopcli.video.preprocess import fit_frame
from vopcli.weights.reader import read_checked

TAKES: Final = range(4, 74)  # of each colour, shape and change; 4 is that of the demo's test videos
GALLERIES: Final = {100: 10, 1_000: 3, 10_000: 1}
SAMPLED: Final = slice(1, None, 3)  # the middle frames of twelve segments
AT_ONCE: Final = 16
HITS: Final = 10
UNTUNED: Final = Variant.ZERO_SHOT.value
FALSE: Final = 0.05
RULES: Final = ("cosine", "z-score", "S-norm", "sigmoid", "confidence")

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Values = dict[str, Doubles]
Held = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Videos or windows, and queries.

    Attributes:
        cosines: (Q, G) of queries and rows.
        bank: (B, G) of the captions of the bank and rows.
        ranked: (Q, G) scores by which a search ranks the rows.
        video: (G,) the video of each row; -1: it matches a query and is in no other gallery.
        present: (Q, G) which rows are in the gallery of each query, with a match.
        absent: (Q, G) the same, without a match.
    """

    cosines: Floats
    bank: Floats
    ranked: Floats
    video: NDArray[np.int64]
    present: Bools
    absent: Bools


def main() -> None:
    """Embed the videos, judge the queries, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `vop demo` where C was trained")
    folder: Path = parser.parse_args().demo
    tuned, untuned = (held_of(folder, name) for name in (TUNED_VARIANT.value, UNTUNED))
    sigmoid = fit_sigmoid(split_gallery(tuned, "val"))
    whole = split_gallery(tuned, TEST)
    found = {"demo set": [judge(whole, sigmoid)]}
    for size, count in GALLERIES.items():
        found[f"{size:,}"] = [judge(part_of(tuned, size, seed), sigmoid) for seed in range(count)]
    found["films"] = [judge(film_gallery(tuned), sigmoid)]
    sigmoid = fit_sigmoid(split_gallery(untuned, "val"))
    found[f"demo set, {UNTUNED}"] = [judge(split_gallery(untuned, TEST), sigmoid)]
    found[f"films, {UNTUNED}"] = [judge(film_gallery(untuned), sigmoid)]
    write_results("confidence", report(found, 100 * recall_at_1(whole), len(tuned["bank"])))


def held_of(folder: Path, name: str) -> Held:
    """Return the embeddings of a model that the galleries are made of; they are kept."""
    file = folder / f"confidence-{name}.npz"
    if not file.exists():
        model, data = load(folder, name)
        parts = embed_captions(model, data) | embed_films(folder, name)
        np.savez(file, allow_pickle=False, **(parts | embed_clips(model) if name != UNTUNED else parts))
    with np.load(file) as stored:
        return {key: stored[key] for key in stored.files}


def embed_captions(model: VideoTextModel, data: CaptionedStore) -> Held:
    """Embed the captions and videos of the splits val and test, and the captions of the bank."""
    train, val, _ = split_for_training(data, val_share=0.2)
    held: Held = {}
    for name, split in (("val", val), (TEST, data.annotations.split(TEST))):
        captions = tokenise_split(data, split, max_tokens=model.max_tokens)
        embedded = embed(model, data.store, captions, torch.float32, progress=SilentProgress())
        held |= {f"{name}_captions": np.array(captions.texts), f"{name}_owner": captions.owner}
        held |= {f"{name}_text": embedded.text, f"{name}_video": embedded.video}
    captions = tokenise_split(data, train, max_tokens=model.max_tokens)
    return held | {"bank": encode_texts(model, list(captions.texts))}


def embed_clips(model: VideoTextModel) -> Held:
    """Embed 70 takes of each caption, as drawn, and both forms of the captions."""
    pairs = list(plan_demo(seed=0, takes_of={"train": (), TEST: TAKES}))
    texts = sorted({captions_of(video) for pair in pairs for video in pair})
    return {
        "clips_label": np.array([texts.index(captions_of(video)) for pair in pairs for video in pair]),
        "clips_wanted": np.repeat(np.arange(len(texts)), 2),
        "clips_text": encode_texts(model, [text for pair in texts for text in pair]),
        "clips_video": np.concatenate(list(iter_clips(pairs, model))),
    }


def load(folder: Path, name: str) -> tuple[VideoTextModel, CaptionedStore]:
    """Return a model, and the captioned videos of the demo folder."""
    quiet, config = SilentProgress(), demo_config(folder, TUNED_VARIANT, epochs=TUNED_EPOCHS)
    weights, data = read_checked(
        config.backbone.model,
        lambda shape: open_captioned_store(config, quiet, shape=shape),
        cache=cache_folder(),
        progress=quiet,
    )
    place, dtype = torch.device("cpu"), torch.float32
    if name == UNTUNED:
        tuning = TuningConfig(variant=Variant.ZERO_SHOT)
        model = build_tuned(weights, tuning, num_frames=data.num_frames, device=place, dtype=dtype)
    else:
        model = load_tuned(
            weights, weights.fingerprint(), read_adapter(folder / RUN), device=place, dtype=dtype
        )
    return model.eval(), data


def encode_texts(model: VideoTextModel, texts: list[str]) -> Floats:
    """Return the embeddings of texts (N, E)."""
    tokens, _ = Tokenizer().tokenize(tuple(texts), max_tokens=model.max_tokens)
    with torch.no_grad():
        return np.asarray(model.encode_text(torch.from_numpy(tokens)).numpy())


def embed_films(folder: Path, name: str) -> Held:
    """Encode the films; return texts that match one film, the windows, and the scores of a search."""
    films = plan_films(seed=0)
    write_films(folder, films, SilentProgress())
    index, adapter = folder / f"films-{name}.h5", None if name == UNTUNED else folder / RUN
    vopcli.encode(folder / FILMS, index, {"backbone.weights": "demo-tiny"}, adapter=adapter)
    texts = [(film.query, *captions_of(film.clips[film.number])) for film in films]
    with vopcli.open_index(index) as opened:
        videos, rows = opened.videos, np.array(list(opened.videos.rows()))
        queries = opened.encode([text for own in texts for text in own])
        ranked = np.empty((len(queries), len(rows)), np.float32)
        answers = choose_engine(videos, None, NormRule.NONE)(queries, top=len(rows))
        for scores, found in zip(ranked, answers, strict=True):
            scores[np.searchsorted(rows, found.rows)] = found.scores
        names = [film.name for film in films]
        return {
            "films_text": queries,
            "films_wanted": np.repeat(np.arange(len(films)), len(texts[0])),
            "films_video": np.stack([videos.embedding_of(row) for row in rows.tolist()]),
            "films_label": np.array([names.index(videos.path_of(row)) for row in rows.tolist()]),
            "films_ranked": ranked,
        }


def captions_of(video: DemoVideo) -> tuple[str, ...]:
    """Return both captions of a video."""
    return replace(video, split="train").captions


def iter_clips(pairs: list[tuple[DemoVideo, DemoVideo]], model: VideoTextModel) -> Iterator[Floats]:
    """Yield the embeddings of clips and their reverses, whose frames are the same."""
    shape = model.clip.shape
    for begin in range(0, len(pairs), AT_ONCE // 2):
        frames = []
        for forwards, _ in pairs[begin : begin + AT_ONCE // 2]:
            drawn = [fit_frame(frame, shape.image_resolution) for frame in draw_video(forwards)[SAMPLED]]
            frames += [np.stack(drawn), np.stack(drawn[::-1])]
        pixels = normalise(
            torch.from_numpy(np.stack(frames)),
            shape.preprocessing,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        with torch.no_grad():
            yield model.encode_video(pixels).numpy()


def split_gallery(held: Held, split: str) -> Gallery:
    """Return the videos and captions of a split; videos of an equal caption match as well."""
    video, owner, texts = held[f"{split}_video"], held[f"{split}_owner"], held[f"{split}_captions"]
    cosines = held[f"{split}_text"] @ video.T
    absent = np.array([~np.isin(np.arange(len(video)), owner[texts == text]) for text in texts])
    present = absent.copy()
    present[np.arange(len(owner)), owner] = True
    return Gallery(cosines, held["bank"] @ video.T, cosines, np.arange(len(video)), present, absent)


def film_gallery(held: Held) -> Gallery:
    """Return the windows of the films; without a match those of the film of a query are missing."""
    video, label = held["films_video"], held["films_label"]
    absent = label != held["films_wanted"][:, None]
    cosines = held["films_text"] @ video.T
    return Gallery(cosines, held["bank"] @ video.T, held["films_ranked"], label, np.ones_like(absent), absent)


def part_of(held: Held, size: int, seed: int) -> Gallery:
    """Return a random gallery: without a match no clip of the caption, with a match one of them."""
    rng, label, wanted = np.random.default_rng(seed), held["clips_label"], held["clips_wanted"]
    is_in = np.zeros(len(label), np.bool_)
    is_in[rng.choice(len(label), size, replace=False)] = True
    absent = is_in & (label != wanted[:, None])
    present = absent.copy()
    for own, caption in zip(present, wanted, strict=True):
        own[rng.choice(np.flatnonzero(label == caption))] = True
    used = present.any(axis=0)
    clips = held["clips_video"][used]
    cosines = held["clips_text"] @ clips.T
    video = np.where(is_in[used], np.arange(len(clips)), -1)
    return Gallery(cosines, held["bank"] @ clips.T, cosines, video, present[:, used], absent[:, used])


def fit_sigmoid(val: Gallery) -> Callable[[Doubles], Doubles]:
    """Fit a logistic regression on the validation split; return its logits by features (..., 3)."""
    parts = [features(val, is_in)[:, 0] for is_in in (val.present, val.absent)]
    given, labels = np.concatenate(parts), np.repeat([1.0, 0.0], len(parts[0]))
    centre, scale = given.mean(axis=0), given.std(axis=0)
    design = np.column_stack([(given - centre) / scale, np.ones(len(given))])
    weights = np.zeros(design.shape[1])
    for _ in range(50):  # Newton's method, with a small ridge
        probable = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (probable - labels) / len(labels) + 1e-2 * weights
        curvature = (design.T * (probable * (1 - probable))) @ design / len(labels)
        weights -= np.linalg.solve(curvature + 1e-2 * np.eye(len(weights)), slope)
    return lambda new: np.asarray((new - centre) / scale @ weights[:-1] + weights[-1])


def features(gallery: Gallery, is_in: Bools) -> Doubles:
    """Return cosine, mean and deviation (Q, 10, 3) of the first hits, by the captions closest to them."""
    hits = first_hits(gallery, is_in)
    mean, deviation = closest_captions(gallery.bank)
    return np.stack([np.take_along_axis(gallery.cosines, hits, 1), mean[hits], deviation[hits]], axis=2)


def first_hits(gallery: Gallery, is_in: Bools) -> NDArray[np.int64]:
    """Return the best rows (Q, 10) of the first videos; the last is repeated if they are fewer."""
    found = np.empty((len(is_in), HITS), np.int64)
    for own, ranked, inside in zip(found, gallery.ranked, is_in, strict=True):
        order = np.flatnonzero(inside)[np.argsort(-ranked[inside], kind="stable")]
        _, first = np.unique(gallery.video[order], return_index=True)
        rows = order[np.sort(first)[:HITS]]
        own[:] = np.resize(rows, HITS) if len(rows) < HITS else rows
    return found


def judge(gallery: Gallery, sigmoid: Callable[[Doubles], Doubles]) -> tuple[Values, Values]:
    """Return the highest value of the first hits of each query (Q,), with a match and without."""
    others, found = without_match(gallery), []
    for is_in in (gallery.present, gallery.absent):
        given = features(gallery, is_in)
        means = gallery.cosines.mean(axis=1, where=is_in, dtype=np.float64)
        spread = gallery.cosines.std(axis=1, where=is_in, dtype=np.float64)
        z_score = (given[:, :, 0] - means[:, None]) / spread[:, None]
        s_norm = ((z_score + (given[:, :, 0] - given[:, :, 1]) / given[:, :, 2]) / 2).max(axis=1)
        values = (
            gallery.ranked.max(axis=1, where=is_in, initial=-np.inf).astype(np.float64),
            z_score.max(axis=1),
            s_norm,
            sigmoid(given).max(axis=1),
            others.confidence(s_norm, means),
        )
        found.append(dict(zip(RULES, values, strict=True)))
    return found[0], found[1]


def without_match(gallery: Gallery) -> WithoutMatch:
    """Judge the captions of the bank with up to 1,024 rows, as a search does."""
    rows = np.flatnonzero(gallery.video >= 0)
    rows = rows[:: max(len(rows) // 1024, 1)]
    bank, video = gallery.bank[:, rows], gallery.video[rows]
    s_norms = s_norms_of(bank, bank, *closest_captions(bank))
    others = video != video[bank.argmax(axis=1)][:, None]
    return WithoutMatch(
        s_norms.max(axis=1, where=others, initial=-np.inf), float(bank.mean(axis=1, dtype=np.float64).max())
    )


def recall_at_1(gallery: Gallery) -> float:
    """Return the fraction of queries whose first hit matches."""
    best = np.where(gallery.present, gallery.ranked, -np.inf).argmax(axis=1)
    return float(np.mean(~gallery.absent[np.arange(len(best)), best]))


def report(found: dict[str, list[tuple[Values, Values]]], recall: float, num_bank: int) -> str:
    """Return the page."""
    pooled = {
        name: [
            {rule: np.concatenate([pair[side][rule] for pair in pairs]) for rule in RULES} for side in (0, 1)
        ]
        for name, pairs in found.items()
    }
    tables: list[list[list[str]]] = [[], [], []]
    for rule in RULES:
        limit = float(np.quantile(pooled[f"{min(GALLERIES):,}"][1][rule], 1 - FALSE))
        limit = 1 - FALSE if rule == "confidence" else limit
        rows: list[list[str]] = [[rule], [rule], [rule]]
        for present, absent in ((one[0][rule], one[1][rule]) for one in pooled.values()):
            least = np.quantile(present, FALSE, method="lower")
            rows[0].append(f"{auroc(present, absent):.3f}")
            rows[1].append(f"{100 * np.mean(absent >= least):.0f}")
            rows[2].append(f"{100 * np.mean(present >= limit):.1f} / {100 * np.mean(absent >= limit):.1f}")
        for table, row in zip(tables, rows, strict=True):
            table.append(row)
    area, false, kept = (markdown_table(("", *pooled), table) for table in tables)
    counts = ", ".join(f"{count} of {size:,}" for size, count in GALLERIES.items())
    return (
        "# Queries without a match\n\n"
        "Each query is judged with its video in the gallery and without it. C, tuned on the demo set (R@1 "
        f"{recall:.1f} %), with a bank of {num_bank} training captions. Galleries: the 144 test videos; "
        f"random parts of {len(TAKES) * 144:,} clips, {len(TAKES)} of each of the 144 captions of the demo "
        f"set, drawn and not compressed ({counts}; seeds from 0), without a match no clip of the caption, "
        "with a match one; and the windows of the 12 films of `vop demo --films`, with three texts for each. "
        "A query has the highest value of its first ten hits. The sigmoid is fitted on the validation split, "
        "on cosine, mean and deviation of the first hit by the captions closest to it. Area under the ROC "
        "curve:\n\n"
        f"{area}\nQueries without a match in percent that are answered if 95 % of the others are:\n\n"
        f"{false}\nAnswered in percent, with a match / without, at a fixed threshold: a confidence of 0.95, "
        f"else the value by which C answers 5 % without a match in galleries of {min(GALLERIES)}:\n\n{kept}"
    )


if __name__ == "__main__":
    main()
