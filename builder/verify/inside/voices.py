"""Resemblyzer's voice encoder as an embedding of pyannote.audio, 3 and 4, and a pipeline that has it.

It lies beside the pipeline's `config.yaml`, which names `voices.Diarization`. Segmentation, clustering and
all else are pyannote.audio's own. The encoder's sizes and mel filters are those of `hparams.py` and
`audio.py` in Resemblyzer's wheel, and the defaults of librosa, on which the latter stands.
"""

from __future__ import annotations

import importlib
import inspect
import math
from typing import Any

torch: Any = importlib.import_module("torch")
Model: Any = importlib.import_module("pyannote.audio").Model
SpeakerDiarization: Any = importlib.import_module("pyannote.audio.pipelines").SpeakerDiarization

RATE = 16_000
WINDOW = 400
STEP = 160
MELS = 40
SIZE = 256
LAYERS = 3
FRAMES = 160  # that the encoder hears at once: 1.6 s
STRIDE = FRAMES // 2
LEAST = int(0.4 * RATE)  # samples; of less, nobody knows a voice
LOUDNESS = 10 ** (-30 / 20)  # -30 dBFS


class VoiceEncoder(Model):  # type: ignore[misc]  # pyannote.audio is not installed where types are checked
    """From a waveform to 256 numbers that tell whose voice it is."""

    def __init__(self, weights: str) -> None:
        super().__init__(sample_rate=RATE)
        self.lstm = torch.nn.LSTM(MELS, SIZE, LAYERS, batch_first=True)
        self.linear = torch.nn.Linear(SIZE, SIZE)
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({name: state[name] for name in self.state_dict()})
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    @property
    def dimension(self) -> int:
        """How many numbers tell of a voice."""
        return SIZE

    def forward(self, waveforms: Any, weights: Any = None) -> Any:
        """Embeddings of waveforms (batch, channel, sample), where weights (batch, frame) let them through."""
        return torch.stack(
            [
                self.embedded(heard(waveform[0], weights[number] if weights is not None else None))
                for number, waveform in enumerate(waveforms)
            ]
        )

    def embedded(self, waveform: Any) -> Any:
        """The embedding of one waveform; not-a-number, which pyannote.audio leaves out, of a short one."""
        if len(waveform) < LEAST:
            return torch.full((SIZE,), math.nan, device=waveform.device)
        loud = waveform * (LOUDNESS / waveform.pow(2).mean().sqrt().clamp(min=1e-6))
        _, (hidden, _) = self.lstm(cut(self.spectrum(loud)))
        each = torch.nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)
        return torch.nn.functional.normalize(each.mean(0), dim=0)

    def spectrum(self, waveform: Any) -> Any:
        """The mel spectrum (frame, mel): powers, not their logarithms."""
        bins = torch.stft(
            waveform, WINDOW, STEP, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        return bins.abs().pow(2).T @ self.filters


class Diarization(SpeakerDiarization):  # type: ignore[misc]  # likewise
    """pyannote.audio's pipeline with that encoder."""

    def __init__(self, segmentation: str, voices: str, **more: Any) -> None:
        if "plda" in inspect.signature(SpeakerDiarization.__init__).parameters:
            # pyannote.audio 4 wants one even where no clustering uses it, and by default a gated one.
            plda = importlib.import_module("pyannote.audio.core.plda").PLDA
            more["plda"] = plda.__new__(plda)
        super().__init__(segmentation=segmentation, embedding=VoiceEncoder(voices), **more)


def heard(waveform: Any, weights: Any) -> Any:
    """The samples whose frames have a weight of more than a half."""
    if weights is None:
        return waveform
    stretched = torch.nn.functional.interpolate(weights[None, None].float(), size=len(waveform))
    return waveform[stretched[0, 0] > 0.5]  # noqa: PLR2004 - a half


def cut(spectrum: Any) -> Any:
    """A spectrum in windows (window, frame, mel) that overlap by half; one shorter window of a short one."""
    length = min(FRAMES, len(spectrum))
    starts = range(0, len(spectrum) - length + 1, STRIDE)
    return torch.stack([spectrum[start : start + length] for start in starts])


def mel_filters() -> Any:
    """Slaney's mel filters (bin, mel), each of area one: `librosa.filters.mel`."""
    edges = mel_edges()
    bins = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    columns = []
    for number in range(MELS):
        low, middle, high = edges[number : number + 3]
        rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
        columns.append(torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low))
    return torch.stack(columns, dim=1)


def mel_edges() -> list[float]:
    """Where filters begin, peak and end, in Hz: 15 mel to 1 kHz, and 27 for each factor of 6.4 above."""
    highest = 15 + math.log(RATE / 2 / 1000) / math.log(6.4) * 27
    mels = (highest * number / (MELS + 1) for number in range(MELS + 2))
    return [mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27) for mel in mels]  # noqa: PLR2004
