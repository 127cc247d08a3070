"""The command `distill`: a smaller model from the store's model, or an LSTM from one of its heads."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from flows import progress
from flows.opened_run import open_run
from flows.options import CHOICE, MACHINE, STORE_AND_SIZE, ProcessesOption
from flows.printing import JsonOption, print_json, put
from flows.running import loading, run_flow
from flows.settings import DEFAULT_STORE, Settings, StoreOption
from multimodal.distillation.options import BILSTM, DISTILBERT, DistillOptions, LstmOptions
from multimodal.store import InputError

STUDENT = Parameter(group=Group("Student", sort_key=2))
LSTM = Parameter(group=Group("An LSTM for one head (--method bilstm)", sort_key=3))
LOSS = Parameter(group=Group("What is trained, and how long", sort_key=5))
D, L = DistillOptions(), LstmOptions()


def distill(
    *,
    method: Annotated[
        Literal["hinton", "distilbert", "tinybert", "bilstm"],
        Parameter(help="How the teacher teaches (docs/distillation.md)."),
        STUDENT,
        CHOICE,
    ] = DISTILBERT,
    layers: Annotated[
        int | None, Parameter(help="Layers of the student; half of the teacher's where not given."), STUDENT
    ] = None,
    hidden: Annotated[
        int | None, Parameter(help="Width of the student; the teacher's where not given."), STUDENT
    ] = None,
    heads: Annotated[
        int | None, Parameter(help="Attention heads; as many as the teacher's where not given."), STUDENT
    ] = None,
    undo: Annotated[
        bool,
        Parameter(
            help="The teacher becomes the store's model again; the student stays in the store.",
            negative=(),
            show_default=False,
        ),
        STUDENT,
    ] = False,
    head: Annotated[
        str | None, Parameter(help="Head of `videobert finetune` that the LSTM learns from."), LSTM
    ] = None,
    name: Annotated[
        str | None, Parameter(help="Name of the new head; HEAD-bilstm where not given."), LSTM
    ] = None,
    width: Annotated[int, Parameter(help="Width of the LSTM in each direction."), LSTM] = L.width,
    copies: Annotated[int, Parameter(help="Masked copies of each moment that are read."), LSTM] = L.copies,
    temperature: Annotated[float, Parameter(help="Temperature of soft targets."), LOSS] = D.temperature,
    alpha: Annotated[
        float, Parameter(help="Weight of soft targets against the plain loss, of hinton."), LOSS
    ] = D.alpha,
    epochs: Annotated[
        int | None,
        Parameter(
            help="Passes over the segments, made whatever the held-out loss says; the teacher's where not given."
        ),
        LOSS,
    ] = None,
    learning_rate: Annotated[
        float | None, Parameter(help="Peak learning rate; the teacher's where not given."), LOSS
    ] = None,
    seed: Annotated[
        int | None,
        Parameter(help="The same seed gives the same result; the teacher's where not given."),
        LOSS,
    ] = None,
    store: Annotated[StoreOption, STORE_AND_SIZE] = DEFAULT_STORE,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        Parameter(help="Where the models run; auto, a GPU where there is one, where not given."),
        MACHINE,
        CHOICE,
    ] = None,
    processes: ProcessesOption = None,
    json_: JsonOption = False,
) -> None:
    """A smaller model from the store's model, on the same vocabulary; it becomes the store's model, and its teacher stays.

    `videobert run` then makes its captioner, index and figures; until then the teacher answers. With --method bilstm a small
    LSTM for one head, which `videobert predict` asks.
    """  # fmt: skip
    options = DistillOptions(
        method=method, layers=layers, hidden=hidden, heads=heads, temperature=temperature, alpha=alpha, epochs=epochs,
        learning_rate=learning_rate, seed=seed,
    )  # fmt: skip
    trained = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    given = {field: value for field, value in trained.items() if value is not None}
    lstm = LstmOptions(width=width, copies=copies, **given)
    shaped = {"--layers": layers, "--hidden": hidden, "--heads": heads}
    if method == BILSTM and (wrong := next((o for o, value in shaped.items() if value is not None), None)):
        raise InputError(f"{wrong} {shaped[wrong]}: an LSTM has none; say --width, or another --method")
    with open_run(Settings(store=store, device=device, processes=processes), create=False) as run:
        with progress.waiting("loading PyTorch"):
            from multimodal.distillation.requests import check_request

        check_request(run.store, run.model_in_use[0], options, head, name, undo=undo)
        with loading():
            from flows.distill import distill_model

        made = run_flow(run.settings.store, distill_model, options, head, name, lstm, undo, run.settings)
    if not isinstance(made, str):
        if json_:
            print_json(dataclasses.asdict(made))
            return
        for line in of_head(made):
            put(line)
        return
    if json_:
        print_json({"model": made})
        return
    put(made)
    if undo:
        progress.say("distill: the teacher is the store's model again, with the next `videobert run`")
    else:
        progress.say(
            "distill: the student is the store's model with the next `videobert run`, which makes its captioner, index and "
            "figures; `videobert distill --undo` goes back to the teacher"
        )


def of_head(made: object) -> list[str]:
    """What is told of a head that was made."""
    from multimodal.finetuning.table import in_a_line

    document = dataclasses.asdict(made)
    (theirs, own), (slow, fast) = made.parameters, made.milliseconds
    found = [
        f"head {made.name}: learned from {made.teacher} by {made.counts['train']} moments and masked copies; {own:,} parameters "
        f"({theirs:,}), an answer in {fast:.2f} ms ({slow:.2f} ms)"
    ]
    if line := in_a_line(document["figures"]):
        found.append(line)
    return [*found, f"Ask it: videobert predict VIDEO --head {made.name}"]
