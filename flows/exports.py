"""The commands `export` and `import-model`: a model with its codebook as a folder to give away, and such a folder taken in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows import progress
from flows.opened_run import open_run
from flows.printing import JsonOption, print_json, put
from flows.running import loading, run_flow
from flows.settings import DEFAULT_STORE, Settings, StoreOption


def export(
    model: Annotated[
        str | None, Parameter(help="A model of the store, or the beginning of its name; the one in use.")
    ] = None,
    *,
    to: Annotated[Path, Parameter(help="The folder to write, which is not there yet.")],
    pictures: Annotated[
        bool,
        Parameter(
            help="The codebook's pictures go with it: frames of your videos.",
            negative=(),
            show_default=False,
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    json_: JsonOption = False,
) -> None:
    """A model with its tokenizer, codebook and card as a folder to give away, for `import-model` and `--text-start`.

    It holds what the model learned, and no transcript, no path of this machine and, unless asked for, no picture.
    """
    with progress.waiting(progress.LOADING):
        from multimodal.transfer.exporting import check_target

    check_target(to)
    with open_run(Settings(store=store), create=False) as run:
        with loading():
            from flows.transfer import export_to

        run.folder = to.absolute()
        made = run_flow(run.settings.store, export_to, None, model, pictures, run.settings)
    if json_:
        print_json(dataclasses.asdict(made))
        return
    put(f"model {made.model} with codebook {made.codebook}, {made.bytes / 1e6:,.1f} MB: {made.folder}")
    put("Take it in elsewhere: videobert import-model FOLDER --store STORE")


def import_model(
    folder: Annotated[Path, Parameter(help="A folder that `videobert export` wrote.")],
    *,
    store: StoreOption = DEFAULT_STORE,
    json_: JsonOption = False,
) -> None:
    """An exported model and its codebook become those of a store that has no model of its own. Nothing in the folder is run.

    The next `run` gives all videos its tokens and their places in its index, and trains no other model until `--refit` or
    `--text-start`.
    """
    with progress.waiting(progress.LOADING):
        from multimodal.transfer.importing import check_export

        check_export(folder)
    with open_run(Settings(store=store)) as run:
        with loading():
            from flows.transfer import import_from

        run.folder = folder.absolute()
        made = run_flow(run.settings.store, import_from, None, run.settings)
    if json_:
        print_json(dataclasses.asdict(made))
        return
    of = f" of {made.backbone} features" if made.backbone else ""
    put(f"model {made.model} with codebook {made.codebook}, {made.tokens} visual tokens{of}")
    put(
        f"In use with the next `videobert run VIDEOS`, which gives its tokens to {made.videos} videos that are here."
    )
