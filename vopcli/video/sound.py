"""The sound of a part of a video, decoded and encoded as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from numpy.typing import NDArray

from vopcli.video.packets import open_sound

_LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1"}  # by number of channels; others are mixed to stereo
_RATES: Final = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000})
_BITS_PER_CHANNEL: Final = 96_000  # per second
_PREROLL: Final = Fraction(
    1, 2
)  # seconds: a decoder may need packets before the first one that it can decode
_JITTER: Final = Fraction(1, 20)  # seconds by which rounded times may differ from the count of samples


class SoundEncoder:
    """Encodes the sound of a range into a container, up to the pictures encoded so far."""

    @classmethod
    def of(cls, path: str, output: OutputContainer, start: Fraction, end: Fraction) -> SoundEncoder | None:
        """Add the sound of a range to a container.

        Args:
            path: a video file.
            output: gets an audio stream.
            start: seconds on the clock of the file's container.
            end: seconds, exclusive.

        Returns:
            The encoder; None if the file has no sound that can be decoded.
        """
        container, stream = open_sound(path)
        if stream is None or not stream.rate or not stream.channels:
            container.close()
            return None
        return cls(container, stream, output, start, end)

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        output: OutputContainer,
        start: Fraction,
        end: Fraction,
    ) -> None:
        self.container, self.output = container, output
        self.rate = stream.rate if stream.rate in _RATES else 48000
        self.layout = _LAYOUTS.get(stream.channels, "stereo")
        self.target: Any = output.add_stream("aac", rate=self.rate, layout=self.layout)
        self.target.bit_rate = _BITS_PER_CHANNEL * self.target.layout.nb_channels
        self.source = stream
        self.start, self.num_samples = start, round((end - start) * self.rate)
        self.num_done = 0
        self.chunks = self._chunks()

    def advance(self, seconds: Fraction) -> None:
        """Encode the samples up to a time of the clip, in seconds."""
        wanted = min(int(seconds * self.rate), self.num_samples)
        while self.num_done < wanted:
            chunk = next(self.chunks, None)
            if chunk is None:
                return
            self._put(*chunk)

    def finish(self) -> None:
        """Encode the rest and flush the encoder."""
        self.advance(Fraction(self.num_samples, self.rate))
        self.output.mux(self.target.encode(None))
        self.close()

    def close(self) -> None:
        """Release the file."""
        self.container.close()

    def _put(self, place: int, samples: NDArray[np.float32]) -> None:
        """Encode samples (channels, N) that begin at a place of the clip; a gap becomes silence."""
        gap = place - self.num_done
        if not self.num_done or abs(gap) > _JITTER * self.rate:
            samples = samples[:, max(-gap, 0) :]
            samples = np.pad(samples, ((0, 0), (max(gap, 0), 0)))
        samples = np.ascontiguousarray(samples[:, : self.num_samples - self.num_done])
        if not samples.shape[1]:
            return
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.num_done, Fraction(1, self.rate)
        self.num_done += samples.shape[1]
        self.output.mux(self.target.encode(frame))

    def _chunks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the samples from the start on, each part with its place in the clip, in samples."""
        for begin in (self.start - _PREROLL, Fraction(0)):
            chunks = self._decoded_from(begin)
            first = next(chunks, None)
            if first is not None and (first[0] <= 0 or not begin):
                yield first
                yield from chunks
                return

    def _decoded_from(self, begin: Fraction) -> Iterator[tuple[int, NDArray[np.float32]]]:
        resampler = av.AudioResampler("fltp", self.layout, self.rate)
        unit = self.source.time_base or Fraction(1, self.rate)
        with suppress(av.FFmpegError):  # a file that cannot be searched is read on from where it stands
            self.container.seek(max(int(begin / unit), self.source.start_time or 0), stream=self.source)
        self.source.codec_context.flush_buffers()
        for packet in self.container.demux(self.source):
            with suppress(av.FFmpegError):  # a damaged packet is a gap
                for decoded in self.source.codec_context.decode(packet if packet.size else None):
                    for frame in resampler.resample(decoded):
                        if frame.pts is not None and frame.time_base is not None:
                            place = round((frame.pts * frame.time_base - self.start) * self.rate)
                            yield place, frame.to_ndarray().astype(np.float32, copy=False)
