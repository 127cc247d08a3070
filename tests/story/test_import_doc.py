"""The examples of docs/import.md, run as they stand there, in their order."""

import json
import os
import re
import shlex
from pathlib import Path

import in_turn
import pytest

from multimodal.catalogue import Catalogue
from multimodal.store import Store

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/import.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, weights_or_skip) -> tuple[dict[str, str], Path]:
    """What each command of the page printed, and the folder it ran in: files first, then the commands in one process."""
    weights_or_skip("minilm-l6")
    home = tmp_path_factory.mktemp("import")
    names: dict = {}
    commands = []
    before = Path.cwd()
    os.chdir(home)
    try:
        for language, file, body in BLOCKS:
            if file:
                Path(file).write_text(body, encoding="utf-8")
            elif language == "python":
                exec(compile(body, "docs/import.md", "exec"), names)
            elif language == "sh":
                commands += body.splitlines()
    finally:
        os.chdir(before)
    environment = os.environ | {
        "PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL", "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1", "VIDEOBERT_STORE": str(home / "store"),
    }  # fmt: skip
    printed = in_turn.said([shlex.split(command)[1:] for command in commands], environment, home)
    return dict(zip(commands, printed, strict=True)), home


def test_every_block_of_the_page_is_an_example_that_ran():
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert {language for language, _, _ in BLOCKS} == {"python", "sh", "csv", "vtt", "json"}


@pytest.mark.long
def test_what_came_in(ran):
    with Catalogue(Store(ran[1] / "store").catalogue) as catalogue:
        videos = {v.name: v for v in catalogue.videos()}
    assert {n: (v.state, v.clips, v.sentences) for n, v in videos.items()} == {
        "carrots": ("done", 16, 2), "eggs": ("done", 16, 2), "soup": ("done", 16, 2), "salad": ("done", 8, 1),
    }  # fmt: skip
    assert all(v.path == "" and "there is no video file" in v.reason for v in videos.values())
    assert "24 rows of 1 s put on 16 clips of 1.5 s" in videos["eggs"].reason
    assert "put on" not in videos["soup"].reason


@pytest.mark.long
def test_it_can_be_asked(ran):
    said = ran[0]
    assert re.search(
        r"^1\. carrots .* (Now chop them|First, peel the carrots)\.$",
        said['videobert search "chop the carrots"'],
        re.MULTILINE,
    )
    tokens = re.findall(r"^\+ *[\d.]+ s  v\d+", said["videobert next carrots --at 12"], re.MULTILINE)
    assert len(tokens) == 12
    assert "Pictures:" not in said["videobert next carrots --at 12"], "imported tokens have none"


@pytest.mark.long
def test_tokens_make_a_codebook_of_their_own(ran):
    digest = ran[0]["videobert codebook --store tokens-store"].strip()
    about = json.loads((ran[1] / "tokens-store/codebooks" / digest / "codebook.json").read_text())
    assert (about["options"]["k"], about["options"]["depth"], about["used"]) == (4, 1, 3)
