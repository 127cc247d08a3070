"""Codes of the languages that Whisper knows. Imports neither torch nor whisper."""

from __future__ import annotations

import langcodes

LANGUAGES = frozenset(
    """en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg
    lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so
    af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue""".split()
)
"""As `whisper.tokenizer.LANGUAGES` has them, such as "en" and "yue"."""

_NAMES = """en english; zh chinese mandarin cmn; de german deutsch; es spanish espanol castellano; ru russian; ko korean;
    fr french francais; ja japanese; pt portuguese; tr turkish; pl polish; ca catalan; nl dutch; ar arabic; sv swedish;
    it italian italiano; id indonesian; hi hindi; fi finnish; vi vietnamese; he hebrew; uk ukrainian; el greek; ms malay;
    cs czech; ro romanian; da danish; hu hungarian; ta tamil; no norwegian nob nb; th thai; ur urdu; hr croatian;
    bg bulgarian; lt lithuanian; lv latvian; cy welsh; sk slovak; te telugu; fa persian farsi; bn bengali; sr serbian;
    sl slovenian; et estonian; eu basque; is icelandic; hy armenian; sq albanian; sw swahili; gl galician; km khmer;
    af afrikaans; ka georgian; my burmese; tl tagalog filipino fil; yue cantonese"""
_CODES = {name: line.split()[0] for line in _NAMES.split(";") for name in line.split()[1:]}


def language_code(name: str) -> str | None:
    """The code in LANGUAGES of a language's two or three letters (ISO 639), or of its English name, in any case."""
    name = name.lower()
    if name in LANGUAGES or name in _CODES:
        return _CODES.get(name, name)
    if len(name) > 3 or not name.isascii():
        return None
    try:
        code = langcodes.get(name).language
    except ValueError:
        return None
    return code if code in LANGUAGES else None
