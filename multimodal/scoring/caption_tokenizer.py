"""Tokenization of captions before they are scored: Stanford's PTBTokenizer where Java runs it, else a regular expression.

Both write in small letters, split contractions ("do n't", "it 's") and drop punctuation, as pycocoevalcap does. The
Java programs are those that the optional package pycocoevalcap carries.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "pycocoevalcap"
PTB_JAR, METEOR_JAR = "tokenizer/stanford-corenlp-3.4.1.jar", "meteor/meteor-1.5.jar"
JAVA_SECONDS = 600
JAVA_MEMORY = "-Xmx2G"
BY_JAVA, BY_RULE = "words by PTBTokenizer", "words by videobert's own rule"

PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
"""The tokens that pycocoevalcap drops. Its brackets are in capitals, those of ``-lowerCase`` are not, so they stay."""

_QUOTES = str.maketrans("‘’‛`´“”„", "'''''\"\"\"")
_CONTRACTIONS = {"cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me",
             "lemme": "lem me", "'tis": "'t is", "'twas": "'t was"}  # fmt: skip
_WORD = re.compile(
    r"""
      \d+(?:[.,:/]\d+)+              # 3.50  1,000  10:30  1/2
    | (?:[^\W\d_]\.){2,}             # u.s.  a.m.
    | \b(?:mrs?|ms|dr|prof|vs)\.
    | \w+(?:[-/]\w+)*(?=n't\b)       # the do of don't
    | n't\b
    | '(?:s|re|ve|ll|d|m|em|tis|twas)\b
    | \w+(?:[-/']\w+)*?(?='(?:s|re|ve|ll|d|m)\b)
    | \w+(?:[-/']\w+)*
    | [^\w\s]
    """,
    re.VERBOSE,
)
_DROPPED = frozenset(".?!,:;-'\"()[]{}–—…")


def rule_tokens(text: str) -> list[str]:
    """The tokens of a text by our own rule: the Penn Treebank's, without rare abbreviations and without brackets."""
    small = text.lower().translate(_QUOTES)
    found: list[str] = []
    for token in _WORD.findall(small):
        if token not in _DROPPED:
            found += _CONTRACTIONS.get(token, token).split()
    return found


def jar(name: str) -> Path | None:
    """The path of a Java program of the package pycocoevalcap; ``None`` where that is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    folders = (found.submodule_search_locations or []) if found else []
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def why_not_java(name: str) -> str:
    """Why a Java program cannot be run, in words; empty where it can."""
    if shutil.which("java") is None:
        return "Java is missing"
    return "" if jar(name) else f"the package {PACKAGE} is missing"


def run_java(arguments: Sequence[str], lines: Sequence[str]) -> list[str] | None:
    """The output lines of a Java program for input ``lines``; ``None`` where it failed."""
    command = ["java", JAVA_MEMORY, "-Dfile.encoding=UTF-8", *arguments]
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    try:
        done = subprocess.run(command, input=text, capture_output=True, timeout=JAVA_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines()


def tokenize(texts: Sequence[str]) -> tuple[list[list[str]], str]:
    """The tokens of each text, and the name of the tokenizer, for people."""
    one_line = [" ".join(text.split()) for text in texts]
    why = why_not_java(PTB_JAR)
    if not why:
        # the program says nothing about an empty line, so only the others are given to it
        tokens = _ptb_tokens([text for text in one_line if text])
        if tokens is not None:
            given = iter(tokens)
            return [next(given) if text else [] for text in one_line], BY_JAVA
        why = "PTBTokenizer failed"
    return [rule_tokens(text) for text in one_line], f"{BY_RULE} ({why})"


def _ptb_tokens(texts: Sequence[str]) -> list[list[str]] | None:
    """``None`` where the program failed."""
    program = ["-cp", str(jar(PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer"]
    lines = run_java([*program, "-preserveLines", "-lowerCase", "-encoding", "UTF-8"], texts)
    if lines is None or len(lines) != len(texts):
        return None
    return [[word for word in line.split(" ") if word and word not in PUNCTUATION] for line in lines]
