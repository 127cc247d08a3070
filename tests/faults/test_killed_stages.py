"""All stages killed at random moments: made again they go on, do nothing twice, and end with the bytes of an undisturbed run.

On imported files and in copies of this process, which start at once: so many kills take minutes. `test_kill_anywhere.py` kills
the command itself, with its decoder and its server. `VIDEOBERT_FAULTS=N` makes N kills.
"""

import os
import random
import signal
import time
from collections.abc import Callable

import imported_corpus
import pytest
import stages
from command import contents, kept

KILLS = int(os.environ.get("VIDEOBERT_FAULTS", "0"))


@pytest.mark.skipif(not KILLS, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults")
@pytest.mark.timeout(3600)
def test_killed_at_random_moments_they_make_the_same_store(tmp_path, capsys):
    corpus, bert = imported_corpus.write_corpus(tmp_path / "corpus", videos=6), tmp_path / "bert"
    imported_corpus.write_bert(bert)
    log, draw = tmp_path / "log", random.Random(0)

    def work(name: str) -> Callable[[], None]:
        return lambda: stages.work(tmp_path / name, corpus, bert)

    began = time.monotonic()
    status, line = stages.run(work("whole"), log)
    assert status == 0, line
    # Well below the time of all stages, so that most are killed more than once.
    longest, meant = (time.monotonic() - began) / 3, contents(tmp_path / "whole")
    kills = stores = wrong = again = 0
    while kills < KILLS:
        store, before = tmp_path / f"store-{stores}", {}
        stores, status = stores + 1, -signal.SIGKILL
        while status and kills < KILLS:
            after = draw.uniform(0, longest)
            status = stages.killed_at(work(store.name), log, lambda: False, signal.SIGKILL, after)
            assert status in (0, -signal.SIGKILL), log.read_text()
            now, kills = kept(store), kills + (status != 0)
            again += sum(now.get(name) != stamp for name, stamp in before.items())
            before = now
        status, line = stages.run(work(store.name), log)
        assert status == 0, line
        made = contents(store)
        wrong += sum(made.get(name) != meant.get(name) for name in made.keys() | meant.keys())
        wrong += len(list(store.rglob(".*.part")))
    with capsys.disabled():
        print(
            f"\n{kills} kills over all stages of {stores} stores: {wrong} files differ, {again} were made twice"
        )
    assert (wrong, again) == (0, 0)
