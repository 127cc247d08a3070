"""Twenty questions that a viewer of the real narrated videos would ask, written down before search was looked at.

Ten are answered and five are misspelt or name a title: right is the moment in ``questions.json`` among the first three. Five
are answered by nobody: right is "nothing found".
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTIONS = json.loads((ROOT / "tests/story/questions.json").read_text())
VIDEOBERT = [sys.executable, "-m", "flows"]
ENOUGH = {"questions": 9, "unanswered": 5, "misspelt_or_by_title": 4}


@pytest.mark.skipif(
    not os.environ.get("VIDEOBERT_SLOW"), reason="8 minutes of CPU: VIDEOBERT_SLOW=1, or make story"
)
@pytest.mark.timeout(3600)
def test_questions_are_answered_or_nothing_is_found(videos, weights_or_skip, tmp_path):
    for name in ("whisper-tiny.en", "i3d-kinetics-400", "minilm-l6"):
        weights_or_skip(name)
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)}

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [*VIDEOBERT, *map(str, arguments), "--store", str(tmp_path / "store")]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    made = run("run", videos / "narrated")
    assert made.returncode == 0, made.stderr

    def search(query: str) -> list[dict]:
        done = run("search", query, "--top", 10, "--json")
        hits = json.loads(done.stdout)["hits"]
        assert done.returncode == (0 if hits else 1), done.stderr
        return hits

    right = {
        kind: {asked["query"]: place(asked, search(asked["query"])) for asked in QUESTIONS[kind]}
        for kind in ("questions", "misspelt_or_by_title")
    }
    nothing = {query: not search(query) for query in QUESTIONS["unanswered"]}
    print(json.dumps(right | {"unanswered": nothing}, indent=1))
    counts = {
        kind: sum(n is not None and n <= 3 for n in places.values()) for kind, places in right.items()
    } | {"unanswered": sum(nothing.values())}
    assert all(counts[kind] >= enough for kind, enough in ENOUGH.items()), counts


def place(asked: dict, hits: list[dict]) -> int | None:
    """The place of the first right hit, from 1."""
    right = [
        hit["name"] == asked["video"] and asked["start"] <= (hit["start"] + hit["end"]) / 2 < asked["end"]
        for hit in hits
    ]
    return right.index(True) + 1 if True in right else None
