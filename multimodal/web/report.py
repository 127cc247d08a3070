"""Owns the report."""

from pathlib import Path


def write_report(store, catalogue, device, report) -> Path:
    return store.report
