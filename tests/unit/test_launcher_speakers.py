"""The side that tells speakers apart works with pyannote.audio 3 and 4, and does with TF32 as it is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from builder.launcher import speakers


class Annotation:
    """As much of pyannote.core's as is used."""

    def __init__(self, *turns: tuple[float, float, str]) -> None:
        self.turns = turns

    def itertracks(self, *, yield_label: bool) -> Any:
        assert yield_label
        return ((SimpleNamespace(start=start, end=end), "_", who) for start, end, who in self.turns)


FULL, EXCLUSIVE = Annotation((0.0, 2.0, "A"), (1.5, 3.0, "B")), Annotation((0.0, 1.7, "A"), (1.7, 3.0, "B"))


class Array:
    """NumPy's and torch's arrays in one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def copy(self) -> Array:
        return self

    def __getitem__(self, index: None) -> Array:
        assert index is None
        return Array((1, *self.shape))


def fake_torch(*, gpu: bool = False) -> Any:
    backends = SimpleNamespace(
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)), cudnn=SimpleNamespace(allow_tf32=True)
    )
    return SimpleNamespace(
        backends=backends,
        cuda=SimpleNamespace(is_available=lambda: gpu),
        device=lambda name: name,
        from_numpy=lambda array: array,
    )


class World:
    """A fake torch and pyannote.audio; remembers what they were asked."""

    def __init__(self, torch: Any, result: Any) -> None:
        self.torch, self.result = torch, result
        self.loaded: dict[str, Any] = {}
        self.applied: dict[str, Any] = {}
        self.device = ""
        self.reported: list[Any] = []
        self.core = ModuleType("pyannote.audio.core.pipeline")
        self.core.fix_reproducibility = self.forbid  # type: ignore[attr-defined]

    def forbid(self, _device: Any) -> None:
        """What pyannote.audio does whenever a pipeline is applied on a GPU."""
        self.torch.backends.cuda.matmul.allow_tf32 = self.torch.backends.cudnn.allow_tf32 = False

    def to(self, device: str) -> None:
        self.device = device

    def __call__(self, file: dict[str, Any], hook: Any, **limits: Any) -> Any:
        self.core.fix_reproducibility(self.device)
        self.applied = {**file, **limits}
        hook("segmentation", None, file=file, total=4, completed=1)
        hook("speaker_counting", None, file=file)
        return self.result

    def from_pretrained_3(self, checkpoint_path: str, use_auth_token: str | None = None) -> Any:
        self.loaded = {"model": checkpoint_path, "use_auth_token": use_auth_token}
        return None if checkpoint_path == "gated/pipeline" else self

    def from_pretrained_4(self, checkpoint: str, token: str | None = None) -> Any:
        self.loaded = {"model": checkpoint, "token": token}
        return self


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make a world of one of pyannote.audio's major versions."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYANNOTE_METRICS_ENABLED"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def make(version: int, *, gpu: bool = False) -> World:
        result = FULL
        if version == 4:
            result = SimpleNamespace(speaker_diarization=FULL, exclusive_speaker_diarization=EXCLUSIVE)  # type: ignore[assignment]
        made = World(fake_torch(gpu=gpu), result)
        load = made.from_pretrained_3 if version == 3 else made.from_pretrained_4
        numpy = SimpleNamespace(float32="f4", fromfile=lambda _path, dtype: Array((len(dtype) * 8000,)))
        modules = {
            "torch": made.torch,
            "numpy": numpy,
            "pyannote.audio": SimpleNamespace(Pipeline=SimpleNamespace(from_pretrained=load)),
            "pyannote.audio.core.pipeline": made.core,
        }
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(speakers, "report", made.reported.append)
        speakers._pipeline.cache_clear()
        return made

    return make


def diarize(
    *, device: str = "auto", tf32: bool | None = None, model: str = "a/b", **limits: int
) -> dict[str, Any]:
    return speakers.diarize("samples", [model, device, tf32], limits)


def test_pyannote_3_gives_an_annotation(world: Any) -> None:
    world(3)
    assert diarize()["turns"] == [[0.0, 2.0, "A"], [1.5, 3.0, "B"]]
    assert diarize()["exclusive"] is None


def test_pyannote_4_gives_a_record_with_turns_that_do_not_overlap(world: Any) -> None:
    world(4)
    found = diarize()
    assert found["turns"] == [[0.0, 2.0, "A"], [1.5, 3.0, "B"]]
    assert found["exclusive"] == [[0.0, 1.7, "A"], [1.7, 3.0, "B"]]


def test_it_is_given_samples_so_that_it_need_not_decode(world: Any) -> None:
    made = world(4)
    diarize(num_speakers=2)
    assert made.applied["waveform"].shape == (1, 16_000)
    assert (made.applied["sample_rate"], made.applied["num_speakers"]) == (16_000, 2)


@pytest.mark.parametrize(("version", "name"), [(3, "use_auth_token"), (4, "token")])
def test_the_token_goes_by_the_name_of_the_release(
    world: Any, monkeypatch: pytest.MonkeyPatch, version: int, name: str
) -> None:
    made = world(version)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    diarize()
    assert made.loaded[name] == "hf_secret"


def test_a_pipeline_that_pyannote_3_could_not_get_is_an_error(world: Any) -> None:
    world(3)
    with pytest.raises(speakers.ModelAccessError, match="Could not download 'gated/pipeline' pipeline"):
        diarize(model="gated/pipeline")


def test_progress_is_reported_as_a_share(world: Any) -> None:
    made = world(3)
    diarize()
    assert {"stage": "segmentation", "share": 0.25} in made.reported
    assert {"stage": "speaker counting", "share": None} in made.reported


@pytest.mark.parametrize(
    ("gpu", "device", "used"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")]
)
def test_it_runs_where_it_shall(world: Any, gpu: bool, device: str, used: str) -> None:
    made = world(3, gpu=gpu)
    assert diarize(device=device)["device"] == used
    assert made.device == used


def test_nobody_is_told_of_the_recording(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world(4)
    diarize()
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    world(4)
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "1")
    diarize()
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "1"


# TF32


def test_by_default_pyannote_has_its_way(world: Any) -> None:
    made = world(3, gpu=True)
    assert diarize()["tf32"] is False
    assert made.torch.backends.cudnn.allow_tf32 is False


def test_tf32_stays_allowed_though_pyannote_forbids_it(world: Any) -> None:
    made = world(3, gpu=True)
    assert diarize(tf32=True)["tf32"] is True
    assert made.torch.backends.cudnn.allow_tf32 is True


def test_no_tf32_forbids_it_before_anything_is_loaded(world: Any) -> None:
    made = world(3)
    made.core.fix_reproducibility = lambda _device: None
    diarize(tf32=False)
    assert made.torch.backends.cudnn.allow_tf32 is False


# Local models


def config(folder: Path, segmentation: str) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(
        f"pipeline:\n  name: x\n  params:\n    segmentation: {segmentation}\n", encoding="utf-8"
    )
    return folder / "config.yaml"


def test_a_folder_stands_for_its_configuration(world: Any, tmp_path: Path) -> None:
    made = world(3)
    file = config(tmp_path / "pipeline", "a/b")
    diarize(model=str(file.parent))
    assert made.loaded["model"] == str(file)
    assert Path.cwd() == tmp_path


def test_parts_beside_the_configuration_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = config(tmp_path / "pipeline", "segmentation.bin")
    (file.parent / "segmentation.bin").touch()
    assert speakers.local(str(file)) == str(file)
    assert Path.cwd() == file.parent


def test_parts_that_are_found_from_here_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "segmentation.bin").touch()
    speakers.local(str(config(tmp_path / "pipeline", "segmentation.bin")))
    assert Path.cwd() == tmp_path
