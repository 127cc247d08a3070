"""What is asked of a distillation, checked before anything is loaded."""

from __future__ import annotations

from multimodal.distillation.lstm import check_head
from multimodal.distillation.options import BILSTM, DistillOptions
from multimodal.distillation.training import check_teacher
from multimodal.store import InputError, Store
from multimodal.training.students import teacher_of


def check_request(
    store: Store,
    model: str | None,
    options: DistillOptions,
    head: str | None = None,
    name: str | None = None,
    *,
    undo: bool = False,
) -> str:
    """The teacher of what is asked of a store whose model is ``model``: it, or where it is a student its teacher. So a student
    is never taught by a student.

    Raises :class:`InputError` for what cannot be done: see :class:`~multimodal.distillation.options.DistillOptions`,
    :func:`~multimodal.distillation.training.check_teacher` and :func:`~multimodal.distillation.lstm.check_head`.
    """
    if model is None:
        raise InputError(f"store {store.root}: has no model yet to distill; run `videobert run VIDEOS`")
    before = teacher_of(store, model)
    if undo and before is None:
        raise InputError(f"--undo: model {model} of store {store.root} is no student; leave it out")
    if undo:
        return before or model
    if (options.method == BILSTM) != (head is not None):
        said = "--head: none given; name one for" if head is None else f"--head {head}: is for"
        raise InputError(f"{said} --method {BILSTM} alone, which learns one head of `videobert finetune`")
    if name is not None and head is None:
        raise InputError(f"--name {name}: is of a head, for --method {BILSTM} alone; leave it out")
    if head is not None:
        check_head(store, model, head, student_head(head, name))
        return head
    return check_teacher(store, before or model, options).name


def student_head(head: str, name: str | None) -> str:
    """The name of the head that learns from ``head``."""
    return name or f"{head}-{BILSTM}"
