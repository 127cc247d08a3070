"""The command `finetune`: a head for a task, from a file of labels, judged on held-out videos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from flows import progress
from flows.opened_run import open_run
from flows.options import CHOICE, MACHINE, STORE_AND_SIZE, ProcessesOption
from flows.printing import JsonOption, print_json, put
from flows.running import loading, run_flow
from flows.settings import DEFAULT_STORE, Settings, StoreOption
from multimodal.finetuning.options import FineTuningOptions, check_name

TASK = Parameter(group=Group("Task", sort_key=2))
MOVED = Parameter(group=Group("What is trained, and how long", sort_key=5))
D = FineTuningOptions()


def finetune(
    *,
    task: Annotated[
        Path, Parameter(help="File of labels: CSV, TSV, Parquet or JSON (docs/finetuning.md)."), TASK
    ],
    name: Annotated[str | None, Parameter(help="Name of the head; the file's where not given."), TASK] = None,
    kind: Annotated[
        Literal["sequence", "token", "pair", "score", "span", "document"] | None,
        Parameter(help="Kind of task; what the columns say where not given."),
        TASK,
        CHOICE,
    ] = None,
    read: Annotated[
        Literal["text", "video", "both"] | None,
        Parameter(help="What of a moment is read; both where not given, of pairs its picture."),
        TASK,
        CHOICE,
    ] = None,
    balance: Annotated[
        bool,
        Parameter(
            help="All classes weigh the same, however many moments they have.",
            negative=(),
            show_default=False,
        ),
        TASK,
    ] = False,
    held_out: Annotated[
        float, Parameter(help="Share of the labelled moments whose videos are held out to judge by."), TASK
    ] = D.held_out,
    window: Annotated[int, Parameter(help="Clips of a window over a whole video."), TASK] = D.window,
    stride: Annotated[int, Parameter(help="Clips between the starts of two windows."), TASK] = D.stride,
    adapt: Annotated[
        str,
        Parameter(help="How much moves: full, head, adapters, lora, or top:N for the last N layers."),
        MOVED,
    ] = D.adapt,
    width: Annotated[int, Parameter(help="Width of adapters."), MOVED] = D.width,
    rank: Annotated[int, Parameter(help="Rank of lora's updates."), MOVED] = D.rank,
    epochs: Annotated[int, Parameter(help="Passes over the labels at most."), MOVED] = D.epochs,
    learning_rate: Annotated[
        float | None,
        Parameter(
            help="Peak learning rate of what moves in the encoder; the head's is 20 times that of layers, 5 times that of "
            "adapters and lora. Chosen by the model's width and --adapt where not given."
        ),
        MOVED,
    ] = None,
    layers: Annotated[
        Literal["last", "mix"],
        Parameter(help="What the head reads: the last layer, or a learned mix of all."),
        MOVED,
        CHOICE,
    ] = "last",
    layer_decay: Annotated[
        float, Parameter(help="Learning rate of a layer as a share of that of the layer above it."), MOVED
    ] = D.layer_decay,
    unfreezing: Annotated[
        float, Parameter(help="Share of the steps over which the layers begin to move, from the top."), MOVED
    ] = D.unfreezing,
    average: Annotated[
        bool,
        Parameter(
            help="The mean of the weights over all steps answers (self-ensemble).",
            negative=(),
            show_default=False,
        ),
        MOVED,
    ] = False,
    distill: Annotated[
        float, Parameter(help="Weight of the distance from that mean in the loss (self-distillation)."), MOVED
    ] = D.distill,
    sentence: Annotated[
        str,
        Parameter(
            help='Classes as sentences that the alignment head compares, as in "how to {label}".',
            show_default=False,
        ),
        TASK,
    ] = "",
    probe: Annotated[
        bool,
        Parameter(
            help="Also what each layer of the model knows of the labels, by logistic regression.", negative=()
        ),
        TASK,
    ] = False,
    seed: Annotated[int, Parameter(help="The same seed gives the same result."), MOVED] = D.seed,
    store: Annotated[StoreOption, STORE_AND_SIZE] = DEFAULT_STORE,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        Parameter(help="Where the model runs; auto, a GPU where there is one, where not given."),
        MACHINE,
        CHOICE,
    ] = None,
    processes: ProcessesOption = None,
    json_: JsonOption = False,
) -> None:
    """A head for a task of your own, trained on a file of labels and judged on held-out videos; `videobert predict` asks it.

    It is stored beside the model and belongs to it. A head of the same name is replaced when the new one is done.
    """  # fmt: skip
    from multimodal.finetuning.table import lines
    from multimodal.finetuning.task_files import read_task

    options = FineTuningOptions(
        kind=kind, read=read, balance=balance, held_out=held_out, window=window, stride=stride, adapt=adapt,
        width=width, rank=rank, epochs=epochs, learning_rate=learning_rate, seed=seed,
        layers=layers, layer_decay=layer_decay, unfreezing=unfreezing, average=average, distill=distill, probe=probe, sentence=sentence,
    )  # fmt: skip
    name = check_name(task.stem if name is None else name)
    file = read_task(task, kind)
    with open_run(Settings(store=store, device=device, processes=processes), create=False) as run:
        with progress.waiting(progress.LOADING):
            from multimodal.finetuning.task import match

        match(file, run.videos)
        run.task = task
        with loading():
            from flows.finetune import finetune_head

        made = run_flow(run.settings.store, finetune_head, None, name, options, run.settings)
        page = run.store.report
    document: dict[str, Any] = dataclasses.asdict(made)
    if json_:
        print_json(document)
        return
    counts = made.counts
    put(
        f"head {made.name}: kind {made.kind}, {counts['train']} labels to learn from, {counts['dev']} to end by, {counts['test']} "
        f"to judge by; {made.moved:.1%} of the weights moved"
    )
    for note in made.notes:
        put(note)
    for line in lines(document["figures"]):
        put(line)
    put(f"Ask it: videobert predict VIDEO --head {made.name}")
    if page.exists():
        put(f"What it says of the held-out videos: {page}#tasks")
