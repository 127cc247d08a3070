"""The flows `export` and `import-model`: a model with its codebook goes to another store, or comes from one."""

# Annotations are evaluated here: Prefect validates parameters by them.
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from multimodal.store import InputError
from multimodal.transfer.exporting import Exported, export_model
from multimodal.transfer.importing import Imported, import_model


@task(name="write a folder", cache_policy=NO_CACHE, persist_result=False)
def write(run: OpenedRun, to: Path, model: str | None, pictures: bool) -> Exported:
    """The folder, whole or absent."""
    with progress.stage("export", "files") as report:
        return export_model(run.store, run.catalogue, to, model, pictures=pictures, report=report)


@recorded_flow("export")
def export_to(
    to: Path | None = None,
    model: str | None = None,
    pictures: bool = False,
    settings: Settings = Settings(),
) -> Exported:
    """Writes a model of the store, the one in use where none is named, and its codebook to a new folder (docs/formats.md).

    Raises :class:`~multimodal.store.InputError` where the folder exists or there is no such model.
    """
    with recorded_run(settings, "export", create=False) as run:
        history.describe("export a model", stage="export", store=run.store.root)
        folder = to or run.folder
        if folder is None:
            raise InputError("--to: none given; name a folder that is not there yet")
        return write(run, folder, model, pictures)


@task(name="take in a folder", cache_policy=NO_CACHE, persist_result=False)
def take(run: OpenedRun, folder: Path) -> Imported:
    """The model and its codebook, in use with the next run."""
    with progress.stage("import-model", "files") as report:
        return import_model(run.store, run.catalogue, folder, report)


@recorded_flow("import-model")
def import_from(folder: Path | None = None, settings: Settings = Settings()) -> Imported:
    """Takes in the model and the codebook of a folder that `export` wrote; the next run uses them.

    Raises :class:`~multimodal.store.InputError` where the folder cannot be used, or the store has a model of its own.
    """
    with recorded_run(settings, "import-model") as run:
        history.describe("import a model", stage="import-model", store=run.store.root)
        given = folder or run.folder
        if given is None:
            raise InputError("FOLDER: none given; name a folder that `videobert export` wrote")
        return take(run, given)
