"""The catalogue: files of every earlier version open, videos are found by name, path or digest."""

import sqlite3

import pytest

from multimodal import catalogue
from multimodal.catalogue import MIGRATIONS, Catalogue, Video
from multimodal.disk import out_of_space
from multimodal.store import InputError
from multimodal.sums import sum_file

A, B, C = (letter * 64 for letter in "abc")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalogue.sqlite"


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_catalogue_of_each_earlier_version_opens_with_its_data(path, version):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
        for step in MIGRATIONS[:version]:
            step(db)
            db.execute("INSERT INTO migrations VALUES (?)", (step.__name__,))
        db.execute(
            "INSERT INTO videos (video, name, path, bytes, state, reason) VALUES (?, 'a.mp4', '/a.mp4', 5, 'done', '')",
            (A,),
        )
    db.close()
    for _ in range(2):
        with Catalogue(path) as db:
            assert db.forgotten() == []
            assert db.get(A) == Video(A, "a.mp4", "/a.mp4", 5, "done")
            db.set_current("model", "m")
            assert db.current("model") == "m"
            assert len(db.runs()) == db.begin_run("pipeline", {}) - 1


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    with Catalogue(path) as db:
        db.put(Video(A, "a.mp4", "/a.mp4", 5))

    def half(db):
        db.execute("ALTER TABLE videos ADD COLUMN colour TEXT")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(catalogue, "MIGRATIONS", (*MIGRATIONS, half))
    with pytest.raises(sqlite3.OperationalError) as error:
        Catalogue(path)
    assert out_of_space(error.value)
    monkeypatch.undo()
    with Catalogue(path) as db:
        assert db.get(A) == Video(A, "a.mp4", "/a.mp4", 5)


def test_a_newer_catalogue_is_refused(path):
    with Catalogue(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO migrations VALUES ('_create_wonders')")
    db.close()
    sum_file(path).unlink()
    with pytest.raises(InputError, match="_create_wonders"):
        Catalogue(path)


def test_a_damaged_catalogue_is_refused_in_words(path):
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(InputError, match="not a database"):
        Catalogue(path)


def test_videos_are_kept_and_listed_by_name(path):
    videos = [
        Video(C, "a.mp4", "/a", 1, "done"),
        Video(A, "b.mp4", "/b", 2, "refused", "no"),
        Video(B, "c.mp4", "/c", 3, "partial", "x", 2.5, 1, 0, None, "r"),
    ]
    with Catalogue(path) as db:
        for video in reversed(videos):
            db.put(video)
    with Catalogue(path) as db:
        assert db.videos() == videos
        assert db.videos(("done", "partial")) == [videos[0], videos[2]]
        assert db.get("d" * 64) is None and db.current("model") is None
        db.put(Video(C, "new.mp4", "/new", 1))
        assert db.get(C) == Video(C, "new.mp4", "/new", 1) and len(db.videos()) == 3


def test_a_record_takes_effect_as_a_whole_or_not_at_all(path):
    old, new = Video(A, "a.mp4", "/a", 1), Video(B, "b.mp4", "/b", 2)
    with Catalogue(path) as db:
        db.put(old)
        db.record([A], [new])
        assert db.videos() == [new]
        with pytest.raises(sqlite3.IntegrityError):
            db.record([B], [old, Video(C, None, "/c", 3)])
        assert db.videos() == [new]
        db.record([], [old])
        assert db.videos() == [old, new], "the transaction that failed is not open any more"


def test_find(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two, other = (
        Video("abc123" + "0" * 58, "soup.mp4", str(tmp_path / "soup.mp4"), 1),
        Video("abc124" + "0" * 58, "soup.mp4", "/elsewhere/soup.mp4", 1),
        Video("def" + "0" * 61, "Salad; DROP TABLE videos.mkv", "/x/Salad.mkv", 1),
    )
    with Catalogue(path) as db:
        for video in (one, two, other):
            db.put(video)
        assert db.find(one.video) == db.find("abc123") == db.find("abc12300") == one
        assert db.find("soup.mp4") == one, "the file of that name here"
        assert db.find("/elsewhere/soup.mp4") == two
        assert db.find("Salad; DROP TABLE videos.mkv") == db.find("Salad; DROP TABLE videos") == other
        for label, words in (("soup", "'soup': 2 "), ("abc12", "'abc12'"),
                             ("", "''"), ("nothing.mp4", "'nothing.mp4'")):  # fmt: skip
            with pytest.raises(InputError, match=words):
                db.find(label)
        db.put(Video("abc123" + "1" * 58, "x.mp4", "/x.mp4", 1))
        with pytest.raises(InputError, match="abc123000000, abc123111111"):
            db.find("abc123")


def test_find_in_another_case_or_by_the_beginning(path):
    with Catalogue(path) as db:
        for n, name in enumerate(("Kitchen-1.mp4", "kitchen-10.mp4", "Shed.mkv", "shed.mp4", "kit")):
            db.put(Video(str(n) * 64, name, f"/v/{name}", 1))
        meant = {"KITCHEN-1": "Kitchen-1.mp4", "kitchen-1.MP4": "Kitchen-1.mp4", "Kitchen-10": "kitchen-10.mp4",
                 "KITCHEN-10.m": "kitchen-10.mp4", "Shed": "Shed.mkv", "shed": "shed.mp4", "kit": "kit"}  # fmt: skip
        assert {label: db.find(label).name for label in meant} == meant
        for label, candidates in (
            ("kitch", {"Kitchen-1.mp4", "kitchen-10.mp4"}),
            ("SHED", {"Shed.mkv", "shed.mp4"}),
        ):
            with pytest.raises(InputError) as error:
                db.find(label)
            assert all(name in str(error.value) for name in candidates) and "\n" not in str(error.value)
        for label in ("KITCHEN-1", "kitchen-10.m"):
            with pytest.raises(InputError):
                db.find(label, exact=True)
        assert db.find("Kitchen-1", exact=True).name == "Kitchen-1.mp4"
        with pytest.raises(InputError, match="Kitchen-1.mp4"):
            db.find("kichen-1.mp4")
        with pytest.raises(InputError) as error:
            db.find("chen")
        assert "Kitchen-1.mp4" in str(error.value) and "Shed" not in str(error.value)


def test_a_run_that_never_ended_was_killed(path):
    with Catalogue(path) as db:
        first = db.begin_run("pipeline", {"k": 3})
        second = db.begin_run("pipeline", {})
        db.end_run(second, "done")
        assert [(r["id"], r["outcome"]) for r in db.runs()] == [(first, "killed"), (second, "done")]
        assert all(r["ended"] for r in db.runs())


def test_what_is_forgotten_is_remembered_until_its_files_are_gone(path):
    video = Video(
        A, "secret name.mp4", "/secret/path", 5, "done", "a secret reason", 3.0, 2, 1, "t", "f", "r"
    )
    with Catalogue(path) as db:
        db.put(video)
        db.forget(video)
        assert db.get(A) is None and db.videos() == []
        assert (
            db.forgotten()
            == db.forgotten(unfinished=True)
            == [video]
            == [db.find("secret name", unfinished=True)]
        )
        with pytest.raises(InputError, match="'secret name'"):
            db.find("secret name")
        db.forgot(A)
        assert db.forgotten(unfinished=True) == [] and db.forgotten()[0].transcript == "t"
    held = b"".join(p.read_bytes() for p in path.parent.iterdir())
    assert b"secret" not in held and A.encode() in held
    with Catalogue(path) as db:
        db.put(video)
        assert db.forgotten(unfinished=True) == [] and [v.video for v in db.forgotten()] == [A]
