"""The outermost ring: Prefect flows and the command line, thin calls of plain functions."""
