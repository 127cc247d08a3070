"""An answer as a flow run: its result is the command's document, and what a person reads of it is kept beside the run."""

import inspect
import json
import subprocess
import sys

import pytest
from command import run_inside

from flows import answers
from flows.questions import QUESTIONS, command

ASK = """
import json, sys
from flows.answers import caption
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
state = caption("flower@1", store=sys.argv[1], return_state=True)
with get_client(sync_client=True) as client:
    (artifact,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["caption"])))
    run = client.read_flow_run(artifact.flow_run_id)
print(json.dumps([state.result(), artifact.data, artifact.description, run.state_name, run.parameters]))
"""


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_a_question_is_one_command_and_one_flow_of_the_same_parameters(question):
    parameters = inspect.signature(question.answer).parameters
    flow = getattr(answers, question.answer.__name__)
    assert set(flow.parameters.properties) == {*parameters, "time_limit"}
    assert set(inspect.signature(command(question)).parameters) == {*parameters, "json_"}


def test_a_caption_as_a_flow_run_on_a_real_server(home, made, capsys):
    ended = subprocess.run(
        [sys.executable, "-c", ASK, str(made.store)], env=home.environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document, shown, about, state, parameters = json.loads(ended.stdout.splitlines()[-1])
    command = run_inside(capsys, "caption", "flower@1", "--store", made.store, "--json")
    expected = json.loads(command.stdout)
    for caption in expected["captions"]:
        # Another process may add with another number of threads.
        caption["score"] = caption["score"] and pytest.approx(caption["score"], rel=1e-5)
    assert document == expected
    printed = run_inside(capsys, "caption", "flower@1", "--store", made.store)
    assert "too few to hold any out" in printed.stderr, (
        "what not to trust is said, and stands in the artifact"
    )
    text, _, pictures = shown.partition("```\n\n")
    assert text == f"```text\n{printed.stderr.replace('`', chr(39))}\n{printed.stdout}"
    assert pictures.count("](data:image/jpeg;base64,") == len(document["captions"])
    assert (about, state, parameters["video"]) == ("flower@1", "Completed", "flower@1")


def test_chapters_as_lines_as_json_and_as_webvtt_for_players(made, capsys):
    lines, document, vtt = (
        run_inside(capsys, "chapters", "flower", "--store", made.store, *more).stdout
        for more in ((), ("--json",), ("--to", "vtt"))
    )
    found = json.loads(document)["chapters"]
    assert len(lines.splitlines()) == len(found) and found[0]["title"] in lines
    assert vtt.startswith("WEBVTT\n") and vtt.count(" --> ") == len(found)
