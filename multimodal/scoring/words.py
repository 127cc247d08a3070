"""Owns what a word is when captions are scored: Stanford's PTBTokenizer where Java runs it, else a rule of our own.

Both write in small letters, part contractions ("do n't", "it 's") and drop punctuation, as pycocoevalcap does.
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
"""What pycocoevalcap drops, to the letter: its brackets are in capitals, those of -lowerCase are not, so they stay."""

_QUOTES = str.maketrans("‘’‛`´“”„", "'''''\"\"\"")
_TOGETHER = {"cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me",
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


def plain_words(text: str) -> list[str]:
    """The words of a text by our own rule: the Penn Treebank's, but for rarer abbreviations and brackets, which go."""
    small = text.lower().translate(_QUOTES)
    found: list[str] = []
    for token in _WORD.findall(small):
        if token not in _DROPPED:
            found += _TOGETHER.get(token, token).split()
    return found


def jar(name: str) -> Path | None:
    """A Java program that the optional package pycocoevalcap carries; ``None`` where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    folders = (found.submodule_search_locations or []) if found else []
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def missing(name: str) -> str:
    """Why a Java program cannot be run, in words; empty where it can."""
    if shutil.which("java") is None:
        return "Java is missing"
    return "" if jar(name) else f"the package {PACKAGE} is missing"


def run_java(arguments: Sequence[str], lines: Sequence[str]) -> list[str] | None:
    """The lines that a Java program answers to lines; ``None`` where it failed."""
    command = ["java", JAVA_MEMORY, "-Dfile.encoding=UTF-8", *arguments]
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    try:
        done = subprocess.run(command, input=text, capture_output=True, timeout=JAVA_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines()


def words_of(texts: Sequence[str]) -> tuple[list[list[str]], str]:
    """The words of each text, and which rule told them apart, for people."""
    one_line = [" ".join(text.split()) for text in texts]
    why = missing(PTB_JAR)
    if not why:
        words = _by_java([text for text in one_line if text])
        if words is not None:
            given = iter(words)
            return [next(given) if text else [] for text in one_line], BY_JAVA
        why = "PTBTokenizer failed"
    return [plain_words(text) for text in one_line], f"{BY_RULE} ({why})"


def _by_java(texts: Sequence[str]) -> list[list[str]] | None:
    """None where the program failed."""
    program = ["-cp", str(jar(PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer"]
    lines = run_java([*program, "-preserveLines", "-lowerCase", "-encoding", "UTF-8"], texts)
    if lines is None or len(lines) != len(texts):
        return None
    return [[word for word in line.split(" ") if word and word not in PUNCTUATION] for line in lines]
