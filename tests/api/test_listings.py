"""Tags, repositories, referrers (distribution-spec, end-8 and end-12)."""

import json
from urllib.parse import urlencode

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.api.relay import CONFIG, Answer, Pushed, Relay, described, document, pushed_index

TAGS = ["1", "A", "V1", "_x", "a", "latest", "v1", "v1.0"]  # in ASCII order


async def many(relay: Relay) -> None:
    pushed = document(annotations={})
    query = urlencode([("tag", tag) for tag in reversed(TAGS)])
    assert (await relay.put(pushed.digest, pushed.content, query=f"?{query}")).status == 201


# Tags


async def test_tags_are_listed_in_ascii_order(relay: Relay) -> None:
    await many(relay)

    answer = await relay.ask("GET", "/v2/app/tags/list")

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert "Link" not in answer.headers
    assert answer.json == {"name": "app", "tags": TAGS}


@pytest.mark.parametrize(
    ("query", "tags", "link"),
    [
        ("n=0", [], None),
        ("n=3", TAGS[:3], "n=3&last=V1"),
        ("n=3&last=V1", TAGS[3:6], "n=3&last=latest"),
        ("n=3&last=latest", TAGS[6:], None),
        ("n=8", TAGS, None),
        (f"n={10**30}", TAGS, None),
        ("last=a", TAGS[5:], None),
        ("last=zzz", [], None),
        ("last=b", TAGS[5:], None),
        ("last=../", TAGS, None),
        ("last=%00", TAGS, None),
        ("last=", TAGS, None),
        ("n=2&last=%C3%A9", [], None),
    ],
)
async def test_tags_come_in_pages(relay: Relay, query: str, tags: list[str], link: str | None) -> None:
    await many(relay)

    answer = await relay.ask("GET", f"/v2/app/tags/list?{query}")

    assert answer.json["tags"] == tags
    assert answer.headers.get("Link") == (link and f'</v2/app/tags/list?{link}>; rel="next"')


@pytest.mark.parametrize("path", ["/v2/app/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("number", ["-1", "abc", "1.5", "1e3", "", "+1", " 1", "٣", "9" * 5000])
async def test_a_page_has_a_number_of_entries(relay: Relay, path: str, number: str) -> None:
    await relay.push_image("v1")

    answer = await relay.ask("GET", path, params={"n": number})

    assert answer.error == (400, "PAGINATION_NUMBER_INVALID")


async def test_a_repository_without_tags_has_an_empty_list(relay: Relay) -> None:
    await relay.push_image()

    assert (await relay.ask("GET", "/v2/app/tags/list")).json == {"name": "app", "tags": []}


async def test_a_repository_that_nobody_pushed_to_is_unknown(relay: Relay) -> None:
    await relay.push_image("v1")

    assert (await relay.ask("GET", "/v2/other/tags/list")).error == (404, "NAME_UNKNOWN")


async def test_names_and_tags_too_long_for_a_file_are_listed(relay: Relay) -> None:
    name, tag = "n" * 200, "T" * 128
    await relay.push_image(tag, name=name)

    assert (await relay.ask("GET", f"/v2/{name}/tags/list")).json == {"name": name, "tags": [tag]}
    assert (await relay.ask("GET", "/v2/_catalog")).json == {"repositories": [name]}
    assert (await relay.get(tag, name)).status == 200


# Repositories


async def test_repositories_are_listed_in_pages(relay: Relay) -> None:
    assert (await relay.ask("GET", "/v2/_catalog")).json == {"repositories": []}
    await relay.push_image("v1", name="b/c")
    await relay.push_image(name="a")
    await relay.push_blob(b"only a blob", name="c")

    whole = await relay.ask("GET", "/v2/_catalog")
    page = await relay.ask("GET", "/v2/_catalog?n=2")
    rest = await relay.ask("GET", page.headers["Link"].partition(">")[0].lstrip("<"))

    assert whole.json == {"repositories": ["a", "b/c", "c"]}
    assert page.json == {"repositories": ["a", "b/c"]}
    assert page.headers["Link"] == '</v2/_catalog?n=2&last=b%2Fc>; rel="next"'
    assert rest.json == {"repositories": ["c"]}


# Referrers


async def referrers(relay: Relay, subject: object, name: str = "app", **query: str) -> Answer:
    return await relay.ask("GET", f"/v2/{name}/referrers/{subject}", params=query)


def artifact(subject: Pushed, kind: str, **more: object) -> Pushed:
    return document(config=described(b"{}", kind), layers=[], subject=subject.descriptor(), **more)


@pytest.mark.parametrize("name", ["app", "never/pushed"])
async def test_who_has_no_referrers_has_an_empty_list_of_them(relay: Relay, name: str) -> None:
    await relay.push_image("v1")

    answer = await referrers(relay, Digest.of(b"anything"), name)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.json == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "pending"])
async def test_referrers_are_described(relay: Relay, stored: bool) -> None:
    subject = await relay.push_image("v1")
    await relay.push_blob(b"{}")
    plain = await relay.push(artifact(subject, "application/vnd.example.config"))
    named = artifact(subject, CONFIG, artifactType="application/vnd.example.sbom", annotations={"a": "\u00e9\n"})
    await relay.push(named, *(["sbom"] if stored else []))
    listing = await relay.push(pushed_index(subject=subject.descriptor(), artifactType="application/vnd.example.list"))
    await relay.push(document(config=described(b"{}", CONFIG)), "unrelated")
    if stored:
        await relay.flush()

    answer = await referrers(relay, subject.digest)

    assert "OCI-Filters-Applied" not in answer.headers
    assert sorted(answer.json["manifests"], key=lambda each: str(each["artifactType"])) == [
        plain.descriptor(artifactType="application/vnd.example.config"),
        listing.descriptor(artifactType="application/vnd.example.list"),
        named.descriptor(artifactType="application/vnd.example.sbom", annotations={"a": "\u00e9\n"}),
    ]
    assert (await referrers(relay, subject.digest, "other")).json["manifests"] == []


async def test_referrers_are_filtered(relay: Relay) -> None:
    subject = await relay.push_image("v1")
    await relay.push_blob(b"{}")
    wanted = await relay.push(artifact(subject, "application/vnd.example.a"))
    await relay.push(artifact(subject, "application/vnd.example.b"))

    some = await referrers(relay, subject.digest, artifactType="application/vnd.example.a")
    none = await referrers(relay, subject.digest, artifactType="x\r\nX-Injected: 1")

    assert [each["digest"] for each in some.json["manifests"]] == [str(wanted.digest)]
    assert none.json["manifests"] == []
    for answer in (some, none):
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert "X-Injected" not in answer.headers


async def test_a_referrer_that_is_deleted_refers_no_more(relay: Relay) -> None:
    subject = await relay.push_image("v1")
    await relay.push_blob(b"{}")
    referrer = await relay.push(artifact(subject, CONFIG), "sbom")

    await relay.ask("DELETE", "/v2/app/manifests/sbom")

    assert (await referrers(relay, subject.digest)).json["manifests"] == []
    assert (await relay.get(referrer.digest)).status == 404


async def test_a_referrer_may_come_before_its_subject(relay: Relay) -> None:
    await relay.push_blob(b"{}")
    subject = document(config=described(b"{}", CONFIG), layers=[])
    referrer = await relay.push(artifact(subject, "application/vnd.example.a"), "sbom")

    await relay.push(subject, "v1")

    (only,) = (await referrers(relay, subject.digest)).json["manifests"]
    assert only == referrer.descriptor(artifactType="application/vnd.example.a")


async def test_a_sha512_subject_has_referrers(relay: Relay) -> None:
    subject = Digest.of(b"subject", "sha512")
    content = {"subject": {"mediaType": OCI_MANIFEST, "digest": str(subject), "size": 7}}

    answer = await relay.put("v1", json.dumps(content).encode())

    assert answer.headers["OCI-Subject"] == str(subject)
    assert len((await referrers(relay, subject)).json["manifests"]) == 1


@pytest.mark.parametrize("bad", ["sha256:abc", "v1", "md5:0", f"sha256-{'0' * 64}"])
async def test_referrers_are_those_of_a_digest(relay: Relay, bad: str) -> None:
    assert (await referrers(relay, bad)).error == (400, "DIGEST_INVALID")
