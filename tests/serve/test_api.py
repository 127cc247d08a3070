"""The JSON API: the documents of `--json`, files by byte ranges, thumbnails, clips, and errors as problem details."""

import csv
import io
import json
import os

import av
import pytest
from PIL import Image

from multimodal import open_store
from multimodal.answers import answer_json, transcripts
from multimodal.serve import clips
from multimodal.serve.documents import with_addresses
from multimodal.serve.media import ByteRange, byte_range


def test_the_documents_are_those_of_the_commands(server, sample):
    get = server.client.get
    found = {"opening": True}
    while found["opening"]:  # until the model is open, words alone answer
        found = get("/api/search", params={"q": "chop the carrot", "top": 5}).json()
    assert found.pop("more") is True and found.pop("opening") is False
    assert found == json.loads(json.dumps(answer_json.search(sample.root, "chop the carrot", top=5)))
    like = get("/api/search", params={"like": "kitchen-001@5", "top": 3}).json()
    assert (
        like["hits"]
        == json.loads(json.dumps(answer_json.search(sample.root, like="kitchen-001@5", top=3)))["hits"]
    )
    for address, options, asked in (
        ("captions", {"at": 5}, lambda: answer_json.caption(sample.root, "kitchen-001", at=5)),
        ("next", {"at": 9}, lambda: answer_json.forecast(sample.root, "kitchen-001", at=9)),
        ("classify", {"verbs": "chop,wash", "nouns": "egg", "at": 5},
         lambda: answer_json.classify(sample.root, "kitchen-001", verbs=["chop", "wash"], nouns=["egg"], at=5)),
    ):  # fmt: skip
        given = get(f"/api/videos/kitchen-001/{address}", params=options).json()
        assert given == json.loads(json.dumps(with_addresses(asked()))), address
    given = get("/api/imagine", params={"text": "chop the carrot"}).json()
    assert given == json.loads(
        json.dumps(with_addresses(answer_json.imagine(sample.root, "chop the carrot")))
    )
    shown = given["clips"][0]["picture"]
    assert Image.open(io.BytesIO(get(shown).content)).format == "JPEG"


def test_a_video_and_its_transcript(server, sample):
    get = server.client.get
    video = get("/api/videos/kitchen-000").json()
    with open_store(sample.root) as store:
        assert [s["text"] for s in video["transcript"]] == store.transcript("kitchen-000")["text"].to_pylist()
        assert len(video["tokens"]) == store.tokens("kitchen-000").num_rows
    assert video["searched"] and video["state"] == "done" and video["moments"]
    for form in ("vtt", "srt", "txt", "json", "tsv"):
        shown = get(f"/api/videos/kitchen-000/transcript.{form}")
        with open_store(sample.root) as store:
            said, _ = transcripts.transcript_text(store.store, store.catalogue.find("kitchen-000"), form)
        assert shown.status_code == 200 and shown.text == said
    assert get("/api/videos/kitchen-000/captions.vtt").text.startswith("WEBVTT\n")


def test_no_path_of_the_machine_is_told(server, sample):
    get, folder = server.client.get, str(sample.root.parent)
    refused = next(v for v in get("/api/videos").json()["videos"] if v["state"] == "refused")
    assert "broken.mp4" in refused["reason"]
    addresses = ["/api/videos", f"/api/videos/{refused['video']}", "/api/videos/kitchen-000", "/api/health",
                 "/api/videos/kitchen-000/next?at=9", "/api/search?q=carrot", "/api/search?like=nowhere@5",
                 f"/api/videos/{refused['video']}/captions", "/api/openapi.json", "/api/imagine?text=egg"]  # fmt: skip
    for address in addresses:
        assert folder not in get(address).text, address


def test_errors_are_problem_details(server):
    get = server.client.get
    for address, status in (
        ("/api/search?q=", 400),
        ("/api/search?q=a&top=0", 422),
        ("/api/search?q=a&longer=nan", 422),
        ("/api/search?q=a&speech=loud", 422),
        ("/api/videos/nowhere", 404),
        ("/api/videos/broken/captions", 400),
        ("/api/videos/kitchen-000/clip.mp4?start=5&end=4", 400),
        ("/api/media/" + "0" * 64, 404),
        ("/api/thumbnails/" + "0" * 64 + "/1.jpg", 404),
        ("/api/nothing", 404),
    ):
        answer = get(address)
        assert answer.status_code == status, address
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json().keys() == {"type", "title", "status", "detail"}
        assert answer.json()["status"] == status and "\n" not in answer.json()["detail"]
    assert server.client.patch("/api/health").status_code == 405


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, ByteRange(0, 100, False)),
        ("bytes=0-9", ByteRange(0, 10, True)),
        ("bytes=90-", ByteRange(90, 100, True)),
        ("bytes=-5", ByteRange(95, 100, True)),
        ("bytes=-500", ByteRange(0, 100, True)),
        ("bytes=0-999999999999", ByteRange(0, 100, True)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=9-5", ByteRange(0, 100, False)),
        ("bytes=0-1,5-6", ByteRange(0, 100, False)),
        ("bytes=-", ByteRange(0, 100, False)),
        ("bytes=a-b", ByteRange(0, 100, False)),
        ("lines=1-2", ByteRange(0, 100, False)),
        (f"bytes={'9' * 40}-", ByteRange(0, 100, False)),
    ],
)
def test_ranges(header, found):
    assert byte_range(header, 100) == found


def test_media_by_ranges(server, sample):
    digest, get = server.digest("kitchen-000.mp4"), server.client.get
    address, data = f"/api/media/{digest}", (sample.root.parent / "videos/kitchen-000.mp4").read_bytes()
    whole = get(address)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, data, "video/mp4")
    etag = whole.headers["etag"]
    part = get(address, headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, data[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(data)}"
    assert get(address, headers={"range": "bytes=1000-1999", "if-range": etag}).status_code == 206
    assert get(address, headers={"range": "bytes=1000-1999", "if-range": '"another"'}).content == data
    beyond = get(address, headers={"range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert get(address, headers={"if-none-match": etag}).status_code == 304
    head = server.client.head(address, headers={"range": "bytes=0-9"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (206, b"", "10")


def test_a_file_that_was_changed_is_not_given_out(starting, sample, tmp_path):
    """Put back as it was, it is: the content is what counts, not when it was written."""
    running = starting(sample.root, read_only=True)
    digest = running.digest("kitchen-001.mp4")
    path = sample.root.parent / "videos/kitchen-001.mp4"
    data = path.read_bytes()
    address = f"/api/media/{digest}"
    try:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of the same length
        assert running.client.get(address).status_code == 409
        path.write_bytes(data + b"more")
        assert running.client.get(address).status_code == 409
        path.unlink()
        assert running.client.get(address).status_code == 404
        path.symlink_to("/dev/zero")
        assert running.client.get(address).status_code == 409
        path.unlink()
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    assert running.client.get(address).content == data


def test_a_file_that_was_changed_after_the_clock_was_set_back_is_not_given_out(starting, sample):
    """What was made of it is then of a later time than its change."""
    running = starting(sample.root, read_only=True)
    digest = running.digest("kitchen-001.mp4")
    path = sample.root.parent / "videos/kitchen-001.mp4"
    made = {file: file.stat() for file in sample.root.glob(f"*/{digest}.*")}
    assert made
    data = path.read_bytes()
    try:
        for file in made:
            os.utime(file, (2**32, 2**32))
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert running.client.get(f"/api/media/{digest}").status_code == 409
    finally:
        path.write_bytes(data)
        for file, about in made.items():
            os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_thumbnails_are_frames_and_kept(server, sample):
    digest = server.digest("kitchen-000.mp4")
    first = server.client.get(f"/api/thumbnails/{digest}/2000.jpg")
    assert first.headers["cache-control"].endswith("immutable")
    assert min(Image.open(io.BytesIO(first.content)).size) == 180
    assert (sample.root / f"thumbnails/{digest}.2000.jpg").read_bytes() == first.content
    none = server.client.get(f"/api/thumbnails/{server.digest('broken.mp4')}/0.jpg")
    assert none.status_code == 404


def test_a_moment_is_taken_away(server):
    get = server.client.get
    for name, start, end in (("kitchen-000", 9, 12), ("old film", 1, 3)):
        made = get(f"/api/videos/{name}/clip.mp4", params={"start": start, "end": end})
        with av.open(io.BytesIO(made.content)) as file:
            assert file.streams.video[0].codec_context.name == "h264"
            # Copied pictures begin at the key frame before the moment.
            assert -0.2 < file.duration / 1e6 - (end - start) < clips.MOST_LEAD + 0.2, name
    row = get("/api/videos/kitchen-000/moment.csv", params={"start": 1, "end": 2.5, "text": '=1+1,"x"'})
    (cells,) = csv.DictReader(io.StringIO(row.text))
    assert (cells["start"], cells["end"], cells["text"]) == ("1.000", "2.500", '\'=1+1,"x"')
    event = get("/api/videos/kitchen-000/moment.edl", params={"start": 61, "end": 62.5, "text": "two\nlines"})
    assert "00:01:01:00 00:01:02:12 00:00:00:00 00:00:01:12" in event.text
    assert "* COMMENT: two lines\n" in event.text
