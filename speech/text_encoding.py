"""The text of a caption file in whatever encoding: by its byte order mark, as UTF-8, else as a detector finds."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from charset_normalizer import from_bytes

from speech.errors import SpeechError

LARGEST_FILE = 64 * 2**20
DETECTED_BYTES = 1 << 16
"""The detector reads so much of the lines that are not ASCII."""
# The mark of UTF-32 begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OF_LANGUAGE = {
    "cp1252": "en de fr es pt it nl sv da no fi is ca gl eu af id ms tl sq",
    "cp1250": "pl cs sk hu sl hr ro bs",
    "cp1251": "ru uk bg sr mk be kk",
    "cp1253": "el",
    "cp1254": "tr az",
    "cp1255": "he yi",
    "cp1256": "ar fa ur",
    "cp1257": "lt lv et",
    "cp1258": "vi",
    "cp874": "th",
    "gb18030": "zh",
    "cp932": "ja",
    "cp949": "ko",
}
"""The encodings in which caption files without Unicode are found, and the languages that each is usual for."""
OTHERS = ("koi8_r", "big5", "euc_jp", "iso8859_2", "cp866")
DECLARED = re.compile(rb"\s*<\?xml[^>]*\bencoding\s*=\s*[\"']([A-Za-z][\w.-]{1,30})[\"']")
"""The encoding that an XML file names. Many are saved anew as UTF-8 without a change of it, so UTF-8 is tried first."""
ISO_2022_JP = re.compile(rb"\x1b\$[@B].*?\x1b\([BJ]", re.DOTALL)
HANGUL = re.compile(r"[\uac00-\ud7a3]")
HAN = re.compile(r"[\u4e00-\u9fff]")
MOST_HANJA = 0.2
"""Korean captions hold no more Chinese characters than this share; a text in GB 18030 read as Korean has many."""
TWICE = re.compile(r"[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]+")
"""Letters as UTF-8 looks that was read as Windows-1252: "Ã©" for "é"."""
UNLIKELY = 0.1
"""The detector's measure of disorder above which the usual encoding of a language is not preferred."""
ENGLISH = re.compile(rb"\b(?:the|and|you|that|with|this|of)\b", re.IGNORECASE)
LEAST_ENGLISH = 0.03
MOST_DAMAGE = 0.1


def read_text(path: Path, language: str | None = None) -> tuple[str, str]:
    """The text of a file, and a note on its encoding, empty for UTF-8.

    `language`: the code of the language in which it is probably written. Raises SpeechError.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise SpeechError(
                f"{path.name}: {size} bytes; a caption file has at most {LARGEST_FILE}; split it"
            )
        data = path.read_bytes()
    except OSError as error:
        raise SpeechError(f"{path.name}: cannot be read ({error.strerror})") from error
    try:
        return decode(data, language)
    except UnicodeError as error:
        raise SpeechError(f"{path.name}: is no text in a known encoding; save the file as UTF-8") from error


def decode(data: bytes, language: str | None = None) -> tuple[str, str]:
    """The text of the bytes, and a note on its encoding, empty for UTF-8. Raises UnicodeError."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace"), f"read as {encoding}"
    while data.startswith(codecs.BOM_UTF8):  # some files have it twice, and some are no UTF-8 all the same
        data = data[len(codecs.BOM_UTF8) :]
    if encoding := _wide(data):
        return data.decode(encoding, "replace"), _note(encoding)
    if ISO_2022_JP.search(data) and _decodes(data, "iso2022_jp_ext"):
        return data.decode("iso2022_jp_ext"), _note("iso2022_jp")
    try:
        return _encoded_once(data.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    if (declared := DECLARED.match(data)) and _decodes(data, name := declared[1].decode()):
        return data.decode(name), _note(name.lower())
    # Bytes that are nearly all UTF-8 are that, and damaged: hardly any other text looks like it.
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    if damaged <= MOST_DAMAGE * len(re.findall(r"[^\x00-\x7f\ufffd]", text)):
        return text, f"{damaged} characters are damaged UTF-8"
    encoding = _detected(data, language)
    return data.decode(encoding, "replace"), _note(encoding)


def _encoded_once(text: str) -> tuple[str, str]:
    """The text, and a note where it was encoded twice: all that is not ASCII is UTF-8 once read as Windows-1252."""
    strange = re.sub(r"[\x00-\x7f]", "", TWICE.sub("", text))
    if strange or text.isascii():
        return text, ""
    try:
        once = "".join(map(_byte, text)).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text, ""
    return once, "its letters were encoded twice, and are read as they were before"


def _byte(letter: str) -> str:
    """A letter's byte in Windows-1252, or its own where that has none, as a character."""
    try:
        return letter.encode("cp1252").decode("latin-1")
    except UnicodeEncodeError:
        return letter


def _note(encoding: str) -> str:
    return f"read as {encoding.replace('_', '-')}; save it as UTF-8 if its letters are wrong"


def _wide(data: bytes) -> str | None:
    """UTF-16 without its mark, told by the zeros of ASCII characters, which every caption file has in its times."""
    even, odd = data[0:4096:2].count(0), data[1:4096:2].count(0)
    least = len(data[:4096]) / 8
    if max(even, odd) < max(least, 1):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _detected(data: bytes, language: str | None) -> str:
    """The encoding that the detector finds likeliest among those of caption files. Raises UnicodeError."""
    lines = b"\n".join(line for line in data.splitlines() if not line.isascii())[:DETECTED_BYTES]
    matches = from_bytes(lines, cp_isolation=[*OF_LANGUAGE, *OTHERS], enable_fallback=False)
    best = matches.best()
    if best is not None and best.encoding == "cp949" and _is_chinese(str(best)) and _decodes(data, "gb18030"):
        return "gb18030"
    if best is None:
        # A few letters tell the detector nothing.
        best_encoding, unlikely = None, UNLIKELY
    else:
        best_encoding, unlikely = best.encoding, best.chaos + UNLIKELY
    if language is None and len(ENGLISH.findall(data)) >= max(2, LEAST_ENGLISH * len(data.split())):
        language = "en"
    usual = next((code for code, of in OF_LANGUAGE.items() if language in of.split()), None)
    # Cuts between two lines may fall into a character, so bytes alone decide whether an encoding can be had.
    if usual and _decodes(data, usual):
        found = {match.encoding: match for match in matches}.get(usual)
        if best is None or (found is not None and found.chaos <= unlikely):
            return usual
        if lines.decode(usual, "replace") == str(best):
            return usual
    if best_encoding is None:
        if not _decodes(data, "cp1252"):
            raise UnicodeError("no encoding")
        return "cp1252"
    return best_encoding


def _is_chinese(text: str) -> bool:
    """Whether a text that was read as Korean holds too many Chinese characters for it."""
    hanja = len(HAN.findall(text))
    return hanja > MOST_HANJA * (hanja + len(HANGUL.findall(text)))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        # A name that a file gives may be of no encoding, or of no text's.
        return False
    return True
