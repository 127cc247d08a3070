"""Containers and codecs that are admitted.

Admitted is what cameras, recorders, web sites and archives write, decoded by FFmpeg itself (AV1: by dav1d) from one file
without asking for another. Codecs of games and of single old programs are left out.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import av
from av.codec.codec import UnknownCodecError

CONTAINERS = frozenset(
    {"mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "ogg", "asf", "mxf", "dv"}
)
SOUND_CONTAINERS = frozenset({"wav", "w64", "mp3", "flac", "aac", "ac3", "eac3", "aiff", "caf", "amr"})
_VIDEO = """h264 hevc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4v3 h263 h263p flv1 theora wmv1 wmv2
    wmv3 vc1 mjpeg prores ffv1 huffyuv ffvhuff dvvideo dnxhd jpeg2000 utvideo v210 rawvideo cinepak svq1 svq3 qtrle"""
_AUDIO = """aac mp1 mp2 mp3 opus vorbis flac alac ac3 eac3 dts truehd mlp wmav1 wmav2 wmapro amr_nb amr_wb speex gsm gsm_ms
    adpcm_ms adpcm_ima_wav adpcm_ima_qt s302m pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be
    pcm_f64le pcm_u8 pcm_s8 pcm_alaw pcm_mulaw pcm_dvd pcm_bluray"""
VIDEO_CODECS, AUDIO_CODECS = frozenset(_VIDEO.split()), frozenset(_AUDIO.split())


@cache
def decoders() -> frozenset[str]:
    """FFmpeg's names of the decoders of the admitted codecs. A decoder's name may differ from its codec's: `libdav1d`."""
    names = set()
    for name in av.codecs_available:
        with suppress(UnknownCodecError):
            if av.Codec(name, "r").canonical_name in VIDEO_CODECS | AUDIO_CODECS:
                names.add(name)
    return frozenset(names)
