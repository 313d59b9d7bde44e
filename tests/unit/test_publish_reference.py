from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BadInputError
from builder.publish.reference import Reference, host_name

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("localhost:5000/cuvee/cu121:tag", "localhost:5000", "cuvee/cu121", "tag", None),
        ("localhost/cuvee", "localhost", "cuvee", "latest", None),
        (f"registry.example.org/name@{DIGEST}", "registry.example.org", "name", None, DIGEST),
        (f"registry.example.org/a/b/c:1.0@{DIGEST}", "registry.example.org", "a/b/c", "1.0", DIGEST),
        ("registry:80/name", "registry:80", "name", "latest", None),
        ("127.0.0.1:5000/name", "127.0.0.1:5000", "name", "latest", None),
        ("[::1]:5000/name:x", "[::1]:5000", "name", "x", None),
        ("Registry/name", "Registry", "name", "latest", None),  # no repository has capitals
        ("debian", "docker.io", "library/debian", "latest", None),
        ("debian:12", "docker.io", "library/debian", "12", None),
        (f"debian@{DIGEST}", "docker.io", "library/debian", None, DIGEST),
        ("cuvee/cu121:x", "docker.io", "cuvee/cu121", "x", None),
        ("docker.io/debian", "docker.io", "library/debian", "latest", None),
        ("index.docker.io/cuvee/cu121", "docker.io", "cuvee/cu121", "latest", None),
        ("localhost:5000", "docker.io", "library/localhost", "5000", None),  # as Docker has it
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    found = Reference.parse(text)
    assert found == Reference(registry=registry, repository=repository, tag=tag, digest=digest)
    assert Reference.parse(str(found)) == found


def test_a_digest_names_an_image_more_exactly_than_a_tag() -> None:
    assert Reference.parse(f"a.test/b:c@{DIGEST}").target == DIGEST
    assert Reference.parse("a.test/b:c").target == "c"
    assert Reference.parse("a.test/b").target == "latest"
    assert Reference.parse("a.test/b").name == "a.test/b"


@pytest.mark.parametrize(
    "text", ["localhost/a", "localhost:5000/a", "127.0.0.1/a", "127.9.8.7:80/a", "[::1]:5000/a", "[::1]/a"]
)
def test_this_machine_needs_no_tls(text: str) -> None:
    assert Reference.parse(text).plain()


@pytest.mark.parametrize("text", ["a.test/a", "a.test:5000/a", "10.0.0.1/a", "localhost.test/a", "debian"])
def test_all_other_registries_need_tls(text: str) -> None:
    assert not Reference.parse(text).plain()
    assert not Reference.parse(text).plain(["b.test", "test"])


def test_a_registry_without_tls_is_named_with_or_without_its_port() -> None:
    reference = Reference.parse("a.test:5000/a")
    assert reference.plain(["a.test"])
    assert reference.plain(["b.test", "a.test:5000"])
    assert not reference.plain(["a.test:80"])


@pytest.mark.parametrize(
    ("text", "cause", "fix"),
    [
        ("", "its repository has", "Use lower-case"),
        ("a.test/", "its repository has", "Use lower-case"),
        ("a.test/A", "its repository has", "Use lower-case"),
        ("a.test/a//b", "its repository has", "Use lower-case"),
        ("a.test/a..b", "its repository has", "Use lower-case"),
        ("a.test/../b", "its repository has", "Use lower-case"),
        ("a.test/a\n", "its repository has", "Use lower-case"),
        ("a_.test/a", "what stands before the first / is no host", "Write HOST"),
        ("a.test:0/a", "what stands before the first / is no host", "Write HOST"),
        ("a.test:65536/a", "what stands before the first / is no host", "Write HOST"),
        ("a.test:x/a", "what stands before the first / is no host", "Write HOST"),
        ("a.test/a:", "its tag is none", "Use up to 128"),
        ("a.test/a:-b", "its tag is none", "Use up to 128"),
        ("a.test/a:b:c", "its tag is none", "Use up to 128"),
        (f"a.test/a:{'b' * 129}", "its tag is none", "Use up to 128"),
        ("a.test/a@", "its digest is none", "Write @sha256:"),
        (f"a.test/a@{DIGEST.upper()}", "its digest is none", "Write @sha256:"),
        (f"a.test/a@{DIGEST}0", "its digest is none", "Write @sha256:"),
        ("a.test/a@sha512:00", "its digest is none", "Write @sha256:"),
        (f"a.test/{'a' * 256}", "its repository has 256 characters", "Shorten it to 255"),
        ("https://a.test/a", "an image's name has no scheme", "Leave out"),
    ],
)
def test_what_is_no_reference_is_told_with_a_way_out(text: str, cause: str, fix: str) -> None:
    with pytest.raises(BadInputError) as caught:
        Reference.parse(text)
    [fault] = caught.value.faults
    assert fault.place == f'image "{text}"'
    assert fault.cause.startswith(cause)
    assert fault.fix.startswith(fix)


def test_all_faults_of_a_reference_are_told_at_once() -> None:
    with pytest.raises(BadInputError) as caught:
        Reference.parse("a_.test/A:-@b")
    assert [fault.cause.split()[-1] for fault in caught.value.faults] == ["host", "have", "none", "none"]


def test_a_password_in_an_address_is_not_repeated() -> None:
    for text in ("https://user:word@a.test/a", "user:word@a.test/a"):
        with pytest.raises(BadInputError) as caught:
            Reference.parse(text)
        assert "word" not in str(caught.value)


@given(st.text(alphabet="aA0.:/@-_[]% é\n", max_size=30))
def test_any_text_is_a_reference_or_a_fault(text: str) -> None:
    try:
        found = Reference.parse(text)
    except BadInputError:
        return
    assert host_name(found.registry)
    assert Reference.parse(str(found)) == found
