"""Ingestion of videos and import of files of other programs; untrusted files are read in a killable child process."""
