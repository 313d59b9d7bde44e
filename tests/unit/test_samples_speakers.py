"""The recording of two voices, and the folder with the pipeline that tells them apart."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import wave
import zipfile
from array import array
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.known import data
from builder.verify.conversation import RATE, Part, conversation
from builder.verify.samples import speaker_samples


def clip(seconds: float, *, quiet: float = 0.0, peak: float = 0.25, form: int = 3, rate: int = RATE) -> bytes:
    """A tone as a WAV file of floats, with silence before and after it, and a chunk that nobody asked for."""
    silence = [0.0] * round(quiet * RATE)
    tone = [peak * math.cos(2 * math.pi * 1000 * number / RATE) for number in range(round(seconds * RATE))]
    body = struct.pack(f"<{len(tone) + 2 * len(silence)}f", *silence, *tone, *silence)
    about = struct.pack("<HHIIHH", form, 1, rate, rate * 4, 4, 32)
    chunks = chunk(b"fmt ", about) + chunk(b"PEAK", b"odd") + chunk(b"data", body)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def heard(sound: bytes) -> array[int]:
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return array("h", file.readframes(file.getnframes()))


class TestConversation:
    PARTS = (
        Part(speaker="anna", clips=(clip(1), clip(0.5))),
        Part(speaker="bert", clips=(clip(2, quiet=0.3),)),
    )

    def test_the_answer_is_known(self) -> None:
        _, turns = conversation(self.PARTS)
        assert [(turn.speaker, turn.start, turn.end) for turn in turns] == [
            ("anna", 1.0, 2.7),  # 1 s, a breath of 0.2 s, 0.5 s
            ("bert", 3.7, pytest.approx(5.7, abs=0.001)),  # without the silence around the clip
        ]

    def test_turns_are_where_the_answer_says_and_silence_is_elsewhere(self) -> None:
        sound, turns = conversation(self.PARTS)
        samples = heard(sound)
        inside = [slice(round(turn.start * RATE), round(turn.end * RATE)) for turn in turns]
        for place in inside:
            assert samples[place.start] != 0
            assert samples[place.stop - 1] != 0
            samples[place] = array("h", bytes(2 * (place.stop - place.start)))
        assert not any(samples)

    def test_all_are_equally_loud(self) -> None:
        loud, _ = conversation([Part(speaker="anna", clips=(clip(1, peak=0.9),))])
        soft, _ = conversation([Part(speaker="anna", clips=(clip(1, peak=0.01),))])
        assert max(heard(loud)) == max(heard(soft)) == 16384

    def test_it_is_the_same_each_time(self) -> None:
        assert conversation(self.PARTS) == conversation(self.PARTS)

    @pytest.mark.parametrize(
        ("sound", "message"),
        [
            (b"ID3 of another kind", "not a WAV file"),
            (clip(1, form=1), "32-bit floats"),
            (clip(1, rate=44100), "16 kHz"),
            (clip(1)[:40], "without sound"),
            (clip(0), "silent"),
            (clip(1, peak=0.0), "silent"),
        ],
    )
    def test_other_sound_files_are_refused(self, sound: bytes, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            conversation([Part(speaker="anna", clips=(sound,))])


class TestSpeakerSamples:
    @pytest.fixture
    def described(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """A wheel store that has all wheels; no network is there to get others."""
        monkeypatch.setenv("CUVEE_CACHE", str(tmp_path / "cache"))
        turns = [
            {"speaker": "one", "clips": ["en/a", "en/b"]},
            {"speaker": "two", "clips": ["fr/a"]},
        ]
        talk = {"talk/en/a.wav": clip(1), "talk/en/b.wav": clip(1), "talk/fr/a.wav": clip(2)}
        described = {
            "voices": {
                **self.put(tmp_path, "talk-1-py3-none-any.whl", talk, "talk"),
                "turns": turns,
                "monologue": turns[:1],
            },
            "segmentation": {
                **self.put(tmp_path, "s-1-py3-none-any.whl", {"s/m/seg.bin": b"who"}, "s/m"),
                "model": "seg.bin",
            },
            "embedding": {
                **self.put(tmp_path, "e-1-py3-none-any.whl", {"e/emb.pt": b"whose"}, "e"),
                "model": "emb.pt",
            },
        }
        monkeypatch.setattr("builder.verify.samples.data", lambda _: described)
        return described

    def put(self, root: Path, file: str, members: dict[str, bytes], folder: str) -> dict[str, Any]:
        with zipfile.ZipFile(root / file, "w") as wheel:
            for name, content in members.items():
                wheel.writestr(name, content)
        content = (root / file).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        place = root / "cache" / "wheels" / sha256 / file
        place.parent.mkdir(parents=True)
        (root / file).rename(place)
        about = {"name": "x", "version": "1", "file": file, "sha256": sha256, "size": len(content)}
        return {**about, "folder": folder}

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "here").mkdir()
        return tmp_path / "here"

    @pytest.mark.usefixtures("described")
    def test_recordings_are_made_in_the_folder(self, folder: Path) -> None:
        found = speaker_samples(folder)
        assert found.recording.parent == found.monologue.parent == found.pipeline.parent == folder
        assert [turn.speaker for turn in found.reference] == ["one", "two"]
        assert len(heard(found.recording.read_bytes())) > len(heard(found.monologue.read_bytes()))

    @pytest.mark.usefixtures("described")
    def test_the_pipeline_has_all_that_it_names(self, folder: Path) -> None:
        pipeline = speaker_samples(folder).pipeline
        config = yaml.safe_load((pipeline / "config.yaml").read_text())
        params = config["pipeline"]["params"]
        assert (pipeline / params["segmentation"]).read_bytes() == b"who"
        assert (pipeline / params["voices"]).read_bytes() == b"whose"
        module, _, name = config["pipeline"]["name"].rpartition(".")
        assert f"class {name}(" in (pipeline / f"{module}.py").read_text()


def test_what_is_known_of_the_samples_hangs_together() -> None:
    described = data("samples.yaml")
    speech, voices = described["speech"], described["voices"]
    assert {**speech, "folder": ""} == {**{key: voices[key] for key in speech}, "folder": ""}
    assert {turn["speaker"] for turn in voices["turns"]} == {"english", "french"}
    assert len({turn["speaker"] for turn in voices["monologue"]}) == 1
    languages = {"english": "en/", "french": "fr/"}
    for turn in (*voices["turns"], *voices["monologue"]):
        assert all(clip.startswith(languages[turn["speaker"]]) for clip in turn["clips"])
