from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import matrix
from builder.ci.job import LIMIT, STAGES, Job, Runners
from builder.ci.planning import jobs
from builder.ci.sharing import SMALL, TINY
from builder.cli.ci import ci
from builder.cli.common import Context
from builder.errors import BadInputError
from builder.lock import record
from builder.lock.image import BlobRecord, ImageRecord, LayerRecord, ZstdRecord
from builder.lock.record import Environment, Lock
from builder.matrix import Row, parse

ROOT = Path(__file__).parents[2]
RUNNERS = Runners(plain="small", gpu="large")

HEAD = """
bases:
  old: {image: "debian:old", suite: old, python: "3.11", glibc: "2.36", packages: [python3]}
  new: {image: "debian:new", suite: new, python: "3.13", glibc: "2.41", packages: [python3]}
defaults: {base: old, python: "3.11", ffmpeg: none}
rows:
"""


def row_text(name: str, more: str = "") -> str:
    return f"""
  {name}:
    summary: a blend
    as_of: 2025-01-20
    cuda: "12.1"
    requirements: [grape==1.0]
    {more}
"""


def rows(*texts: str) -> tuple[Row, ...]:
    return parse(HEAD + "".join(texts)).rows


def layer(title: str, size: int = 2 * SMALL) -> LayerRecord:
    digest = f"sha256:{hashlib.sha256(title.encode()).hexdigest()}"
    return LayerRecord(title=title, digest=digest, size=size, diff_id=digest)


def digest(title: str) -> str:
    return layer(title).digest


BASE, TORCH, CUDNN = layer("base"), layer("torch"), layer("cudnn")


def lock(row: Row, layers: Sequence[LayerRecord] | None) -> Lock:
    recipe = digest(row.id)
    image = ImageRecord(recipe=recipe, manifest=recipe, layers=tuple(layers)) if layers else None
    return Lock(
        row=row.id,
        fingerprint=row.fingerprint(),
        as_of="2025-01-20",
        base=row.base.id,
        python=row.python,
        environments=(Environment(name="main", packages=()),),
        overlays=(),
        tools=(),
        image=image,
    )


def planned(
    chosen: Sequence[Row], layers: Mapping[str, Sequence[LayerRecord]], *, named: bool = False
) -> dict[str, Job]:
    locks = {row.id: lock(row, layers[row.id]) for row in chosen if row.id in layers}
    return {job.id: job for job in jobs(chosen, locks, RUNNERS, named=named)}


def zstd_of(one: LayerRecord) -> BlobRecord:
    return BlobRecord(digest=digest(f"{one.title} in zstd"), size=one.size // 2)


def in_zstd(of: Lock) -> Lock:
    """The lock, with zstd's layers recorded, all but the base's."""
    assert of.image
    base, *others = of.image.layers
    blobs = (BlobRecord(digest=base.digest, size=base.size), *map(zstd_of, others))
    zstd = ZstdRecord(how="zstd", manifest=digest(f"{of.row} in zstd"), layers=blobs)
    return replace(of, image=replace(of.image, zstd=zstd))


def three() -> dict[str, Job]:
    """Two rows that share torch, and one that shares only the base."""
    layers = {
        "one": [BASE, TORCH, layer("of one")],
        "two": [BASE, TORCH, layer("of two")],
        "three": [BASE, layer("of three")],
    }
    return planned(rows(*map(row_text, layers)), layers)


# Nothing is made twice


def require_made_once(found: Sequence[Job], images: Mapping[str, Sequence[LayerRecord]]) -> None:
    """Each layer is made by one job, and rows need all jobs that make what they have."""
    made = Counter(one for job in found for one in job.layers)
    distinct = {one.digest: one.size for layers in images.values() for one in layers}
    assert made == Counter(distinct.keys())
    assert sum(job.bytes for job in found) == sum(distinct.values())
    by_id = {job.id: job for job in found}
    assert len(by_id) == len(found)
    for row, layers in images.items():
        job = by_id[f"row-{row}"]
        there = {*job.layers, *(one for needed in job.needs for one in by_id[needed].layers)}
        assert {one.digest for one in layers} <= there


def require_in_order(found: Sequence[Job]) -> None:
    """A job needs only jobs of earlier stages: a workflow may run a stage as a whole."""
    by_id = {job.id: job for job in found}
    for job in found:
        assert all(STAGES.index(by_id[one].stage) < STAGES.index(job.stage) for one in job.needs)
    numbers = [STAGES.index(job.stage) for job in found]
    assert numbers == sorted(numbers)


class TestTheProject:
    """The rows that this project has, as they are locked."""

    rows = matrix.load(ROOT / "matrix.yaml").rows

    def locks(self) -> dict[str, Lock]:
        paths = {row.id: ROOT / "images" / row.id / record.FILE for row in self.rows}
        return {row: record.read(path) for row, path in paths.items() if path.is_file()}

    def images(self) -> dict[str, Sequence[LayerRecord]]:
        return {row: one.image.published for row, one in self.locks().items() if one.image}

    def found(self) -> tuple[Job, ...]:
        return jobs(self.rows, self.locks(), Runners())

    def test_no_layer_is_made_by_two_jobs_and_none_is_forgotten(self) -> None:
        require_made_once(self.found(), self.images())

    def test_the_rows_sent_one_by_one_would_cost_more(self) -> None:
        alone = sum(one.size for layers in self.images().values() for one in layers)
        assert sum(job.bytes for job in self.found()) < alone

    def test_every_job_comes_after_what_it_needs(self) -> None:
        require_in_order(self.found())

    def test_layers_are_pushed_under_a_row_that_has_them(self) -> None:
        images = {row: {one.digest for one in layers} for row, layers in self.images().items()}
        for job in self.found():
            pushed: list[str] = []
            for words in (command.split() for command in job.commands if "--layer" in command):
                digests = [word for word in words if word.startswith("sha256:")]
                assert set(digests) <= images[words[2]]
                pushed += digests
            if job.stage in {"base", "shared"}:
                assert sorted(pushed) == sorted(job.layers)

    def test_every_row_that_is_not_untested_has_a_job(self) -> None:
        told = {job.row for job in self.found() if job.stage == "rows"}
        assert told == {row.id for row in self.rows if row.status != "untested"}


EIGHT = rows(*(row_text(f"r{number}") for number in range(8)))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 9))), min_size=1, max_size=len(EIGHT)))
def test_whatever_rows_share_is_made_once(worlds: list[tuple[bool, set[int]]]) -> None:
    sizes = (TINY - 1, TINY, SMALL - 1, SMALL)
    layers = {
        f"r{number}": [
            layer("other base" if other else "base"),
            *(layer(f"l{one}", sizes[one % len(sizes)]) for one in sorted(numbers)),
        ]
        for number, (other, numbers) in enumerate(worlds)
    }
    found = tuple(planned(EIGHT[: len(layers)], layers).values())
    require_made_once(found, layers)
    require_in_order(found)


# Stages


def test_what_rows_share_comes_before_them_and_each_sends_only_its_own() -> None:
    found = three()
    assert [job.stage for job in found.values()] == ["base", "shared", *["rows"] * 3, *["gpu"] * 3]
    base, shared = list(found)[:2]
    assert found[base].layers == (BASE.digest,)
    assert found[shared].layers == (TORCH.digest,)
    assert found[shared].needs == (base,)
    assert found["row-one"].needs == (base, shared)
    assert found["row-one"].layers == (digest("of one"),)
    assert found["row-three"].needs == (base,)


def test_a_row_alone_makes_all_of_its_layers_itself() -> None:
    found = planned(rows(row_text("one")), {"one": [BASE, TORCH]})
    assert list(found) == ["row-one", "gpu-one"]
    assert found["row-one"].layers == (BASE.digest, TORCH.digest)
    assert found["row-one"].commands[0].endswith("|| cuvee base old")


def test_tiny_layers_are_made_with_their_base_and_small_ones_together() -> None:
    tiny = layer("environment", TINY - 1)
    small = [layer("a", SMALL - 1), layer("b", SMALL - 1)]
    layers = {"one": [BASE, tiny, *small], "two": [BASE, tiny, small[0]], "three": [BASE, small[1]]}
    found = planned(rows(*map(row_text, layers)), layers)
    base, shared = list(found)[:2]
    assert found[base].layers == (BASE.digest, tiny.digest)
    assert shared == "shared-small"
    assert set(found[shared].layers) == {one.digest for one in small}
    assert found["row-one"].layers == ()


def test_layers_of_the_same_rows_are_made_by_one_job_with_the_same_name_in_every_run() -> None:
    layers = {name: [BASE, TORCH, CUDNN] for name in ("one", "two")}
    [shared] = [
        job for job in planned(rows(*map(row_text, layers)), layers).values() if job.stage == "shared"
    ]
    assert shared.id == f"shared-{hashlib.sha256(b'one two').hexdigest()[:8]}"
    assert shared.name == "torch and 1 more, for one, two"
    assert shared.bytes == TORCH.size + CUDNN.size


def test_each_base_has_its_job_and_one_with_debians_ffmpeg_is_asked_for_with_it() -> None:
    chosen = rows(
        *(row_text(name, "ffmpeg: shared") for name in ("one", "two")),
        *(row_text(name, 'base: new\n    python: "3.13"') for name in ("three", "four")),
    )
    other = layer("new base")
    layers = {"one": [BASE], "two": [BASE], "three": [other], "four": [other]}
    first, second, *_ = planned(chosen, layers).values()
    assert (first.name, second.name) == ("base old with ffmpeg with libpython3.11", "base new")
    to = '"$CUVEE_REGISTRY"'
    base = "cuvee base old --with ffmpeg --with libpython3.11"
    assert first.commands[0] == f"{base} --from {to} || {base}"
    assert first.commands[1] == f"cuvee push one {to} --layer {BASE.digest}"


# Layers in zstd


def test_rows_that_record_zstd_are_sent_so_and_their_base_is_the_one_of_all() -> None:
    chosen = rows(row_text("one", "aliases: [latest]"), row_text("two"))
    layers = {row.id: [BASE, TORCH, layer(f"of {row.id}")] for row in chosen}
    locks = {row.id: in_zstd(lock(row, layers[row.id])) for row in chosen}
    found = {job.id: job for job in jobs(chosen, locks, RUNNERS)}
    base, shared = list(found.values())[:2]
    assert base.layers == (BASE.digest,)
    assert base.commands[1] == f'cuvee push one "$CUVEE_REGISTRY" --compression zstd --layer {BASE.digest}'
    assert shared.layers == (zstd_of(TORCH).digest,)
    assert shared.bytes == TORCH.size // 2
    own = found["row-one"]
    assert own.layers == (zstd_of(layer("of one")).digest,)
    pushes = [words for words in own.commands if words.startswith("cuvee push")]
    assert [words.split(":")[1] for words in pushes] == [
        f'{name}" --compression zstd' for name in ("candidate-one", "one", "latest")
    ]


def test_a_row_without_such_a_record_shares_the_base_alone_with_one_that_has_it() -> None:
    chosen = rows(row_text("one"), row_text("two"))
    one, two = (lock(row, [BASE, TORCH]) for row in chosen)
    found = {job.id: job for job in jobs(chosen, {"one": in_zstd(one), "two": two}, RUNNERS)}
    assert [job.layers for job in found.values() if job.stage in {"base", "shared"}] == [(BASE.digest,)]
    assert found["row-one"].layers == (zstd_of(TORCH).digest,)
    assert found["row-two"].layers == (TORCH.digest,)
    assert not any("zstd" in words for words in found["row-two"].commands)


def test_a_record_of_another_zstd_is_not_planned_with() -> None:
    chosen = rows(row_text("one"), row_text("two"))
    one, two = (lock(row, [BASE, TORCH]) for row in chosen)
    locks = {"one": in_zstd(one), "two": two}
    assert jobs(chosen, locks, RUNNERS, zstd="zstd")
    with pytest.raises(BadInputError) as caught:
        jobs(chosen, locks, RUNNERS, zstd="a newer zstd")
    [fault] = caught.value.faults
    assert fault.place == "images/one/lock.json image.zstd"
    assert fault.fix == "Run `cuvee build one --compression zstd`, and commit the lock"


# Rows of every kind


def test_a_good_row_gets_its_names_only_after_its_test() -> None:
    [row] = rows(row_text("one", "aliases: [latest]"))
    commands = planned([row], {"one": [BASE]})["row-one"].commands
    tested = commands.index("cuvee test one --engine docker")
    names = [number for number, words in enumerate(commands) if re.search(r":(one|latest)\"$", words)]
    assert len(names) == 2
    assert min(names) > tested
    assert commands[1] == 'cuvee push one "$CUVEE_REGISTRY:candidate-one"'


def test_a_known_bad_row_is_a_job_that_says_so_and_is_never_given_its_name() -> None:
    bad = "status: known-bad\n    fails_with: {check: cudnn, message: no cuDNN}"
    found = planned(rows(row_text("bad", bad)), {"bad": [BASE]})
    assert list(found) == ["row-bad"]  # and no GPU is needed
    job = found["row-bad"]
    assert (job.expect, job.may_fail, job.name) == ("fail", False, "bad (must fail as recorded)")
    assert "cuvee test bad --engine docker" in job.commands
    assert not any(words.endswith(':bad"') for words in job.commands)


def test_a_row_that_cannot_be_locked_has_no_image_to_send() -> None:
    bad = "status: known-bad\n    fails_with: {check: lock, message: no wheel}"
    job = planned(rows(row_text("bad", bad)), {})["row-bad"]
    assert (job.expect, job.layers, job.commands) == ("fail", (), ("cuvee test bad",))


def test_an_untested_row_has_a_job_only_when_it_is_named_and_may_fail() -> None:
    chosen = rows(row_text("new", "status: untested"))
    assert planned(chosen, {}) == {}
    job = planned(chosen, {}, named=True)["row-new"]
    assert job.may_fail
    assert job.name == "new (untested, may fail)"
    assert job.commands == ("cuvee lock new", "cuvee build new --engine direct")


def test_gpu_jobs_are_for_good_rows_with_cuda_and_run_on_gpu_runners() -> None:
    chosen = rows(row_text("one"), row_text("cpu").replace('cuda: "12.1"', "cuda: null"))
    found = planned(chosen, {"one": [BASE], "cpu": [BASE]})
    gpus = [job for job in found.values() if job.gpu]
    assert [job.id for job in gpus] == ["gpu-one"]
    assert (gpus[0].runner, gpus[0].needs, gpus[0].layers) == ("large", ("row-one",), ())
    assert gpus[0].commands[-1] == "cuvee test one --gpus --engine docker"
    assert {job.runner for job in found.values() if not job.gpu} == {"small"}


def test_commands_are_words_that_a_shell_takes_apart_again() -> None:
    for job in three().values():
        for command in job.commands:
            assert shlex.split(command)[0] in {"cuvee", "docker"}


# What cannot be


def test_rows_without_a_recorded_image_are_all_told() -> None:
    with pytest.raises(BadInputError) as caught:
        jobs(rows(row_text("one"), row_text("two")), {}, RUNNERS)
    first, second = caught.value.faults
    assert first.place == "images/one/lock.json"
    assert "no image is recorded" in first.cause
    assert first.fix == "Run `cuvee build one --engine direct`, and commit the lock"
    assert second.place == "images/two/lock.json"


def test_rows_that_the_matrix_has_moved_on_from_are_all_told() -> None:
    before = rows(row_text("one"), row_text("two"))
    locks = {row.id: lock(row, [BASE]) for row in before}
    now = rows(row_text("one", "torch: '2.4.1'"), row_text("two"))
    with pytest.raises(BadInputError) as caught:
        jobs(now, locks, RUNNERS)
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (
        "images/one/lock.json",
        "the matrix has moved on since it was locked",
    )


def test_more_jobs_than_a_workflow_may_have_are_refused_with_a_way_out() -> None:
    names = [f"r{number}" for number in range(LIMIT // 2 + 1)]
    with pytest.raises(BadInputError) as caught:
        planned(rows(*map(row_text, names)), {name: [layer(name)] for name in names})
    [fault] = caught.value.faults
    assert fault.cause == f"these rows make {LIMIT + 2} jobs, and a workflow may have {LIMIT}"
    assert "Name fewer rows (`cuvee ci ROW...`)" in fault.fix
    assert caught.value.exit_code == 2


def test_as_many_jobs_as_a_workflow_may_have_are_fine() -> None:
    names = [f"r{number}" for number in range(LIMIT // 2)]
    assert len(planned(rows(*map(row_text, names)), {name: [layer(name)] for name in names})) == LIMIT


def test_the_limit_is_the_one_that_github_documents() -> None:
    assert LIMIT == 256


# The command


def run(*words: str) -> str:
    done = CliRunner().invoke(ci, words, obj=Context(ROOT, verbose=False), standalone_mode=False)
    assert done.exception is None, done.exception
    return done.output


def test_the_command_prints_the_jobs_of_the_rows_that_are_named() -> None:
    told = json.loads(run("asr-cu12", "--runner", "mine", "--gpu-runner", "fast"))
    assert [job["id"] for job in told["jobs"]] == ["row-asr-cu12", "gpu-asr-cu12"]
    assert [job["runner"] for job in told["jobs"]] == ["mine", "fast"]


def test_the_command_knows_every_format() -> None:
    assert json.loads(run("cu121", "--format", "github"))["stages"][-1] == "gpu"
    assert yaml.safe_load(run("cu121", "--format", "gitlab"))["stages"][-1] == "gpu"


def test_a_gitlab_job_asks_for_a_runner_where_one_is_named_or_it_needs_a_gpu() -> None:
    words = ("cu121", "--format", "gitlab")
    told = yaml.safe_load(run(*words))
    assert {job["tags"][0] for job in told.values() if "tags" in job} == {"gpu"}
    assert "mine" in run(*words, "--runner", "mine")
