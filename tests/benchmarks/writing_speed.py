"""Writing captions against `transformers`' generate on the same network: `OMP_NUM_THREADS=1 python tests/benchmarks/writing_speed.py`.

BART as this store has it (``--layers`` × ``--hidden``, random weights, the vocabulary of a kitchen's words and 1,728 visual tokens)
and `transformers.EncoderDecoderModel` of two BERTs with the same weights write ``--captions`` captions of 2 to 8 clips, 32 at a time,
with 4 beams, no trigram twice, no length penalty, at most ``--longest`` pieces. Turns of one and the other, ``--rounds`` times;
CPU seconds of one thread. The texts of both are compared. ``--keep FOLDER``: that of `systems.py --kitchen`, whose bart writes captions
of held-out moments: of different lengths, as a text that is done is written no further.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "multimodal"))
sys.path.insert(0, str(Path(__file__).parent.parent / "multimodal" / "helpers"))

import joint_samples
import systems
import test_encoder_decoder as oracle
import token_kitchen

from multimodal.catalogue import Catalogue
from multimodal.examples import tasks
from multimodal.inference import writing
from multimodal.inference.beam import BeamOptions
from multimodal.inference.trained import Trained
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import read_material, usable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import Store
from multimodal.systems import NOISES, SYSTEMS
from multimodal.terms import TEXT
from multimodal.tokens import train_and_held_out
from multimodal.vocabulary import Vocabulary

AT_ONCE = 32


def network(layers: int, hidden: int, words: int) -> PretrainingObjective:
    plain = joint_samples.vocabulary()
    vocabulary = Vocabulary((*plain.words, *(f"w{n}" for n in range(words - len(plain.words)))), 1728)
    options = ModelOptions(vocabulary.size, hidden, layers, hidden // 32, 4 * hidden)
    model = JointBert(options).init_weights(0, by_width=True).eval()
    found = PretrainingObjective(model, vocabulary, system=SYSTEMS["bart"], seed=1, by_width=True).eval()
    for n, parameter in enumerate(found.parameters()):
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
    return found


def of_kitchen(folder: Path, tokens: int) -> tuple[Trained, list[list[int]]]:
    """The bart of a comparison, and the visual tokens of the held-out moments in which somebody speaks."""
    store = Store(folder / "store")
    with Catalogue(store.catalogue) as catalogue:
        codebook = token_kitchen.ingest_kitchen(folder / "corpus", store, catalogue)
        videos = usable(catalogue)
    trained = systems.trained_model(store, videos, codebook, systems.candidate("bart"), tokens)
    _, held_out = train_and_held_out(store, videos, codebook)
    moments = [s for video in held_out for s in read_material(store, codebook, video).spoken()]
    return trained, [list(s.tokens) for s in moments if s.text and s.tokens]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--captions", type=int, default=100)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--longest", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--end", type=float, default=0.0, help="added to the logit of the end")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--tokens", type=int, default=300_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.keep:
        trained, runs = of_kitchen(given.keep, given.tokens)
        runs = runs[: given.captions]
        writer = SimpleNamespace(writer=trained.writer)
        found = SimpleNamespace(model=trained.model, terms={TEXT: writer}, vocabulary=trained.vocabulary)
    else:
        found = network(given.layers, given.hidden, given.words)
        writer = found.terms[TEXT].writer
        writer.bias.data[found.vocabulary.join] += given.end
        trained = Trained("random", Path(), found.model, found.vocabulary, "c", writer=writer, form=NOISES)
        random = torch.Generator().manual_seed(0)
        visual = found.vocabulary.visual
        runs = [torch.randint(visual, (2 + n % 7,), generator=random).tolist() for n in range(given.captions)]
    V, theirs = trained.vocabulary, oracle.theirs(found)
    asked = [[((), run)] for run in runs]
    options = BeamOptions(4, 0.0, 3)
    end = tasks.end_of(V, NOISES, tasks.CAPTION)
    allowed = {end, *V.replaceable_words}
    banned = [i for i in range(V.size) if i not in allowed]

    def ours() -> list[str]:
        return [text for text, _ in writing.write(trained, tasks.CAPTION, asked, given.longest, options)]

    def of_transformers() -> list[str]:
        texts = []
        for first in range(0, len(asked), AT_ONCE):
            read = [tasks.prompt(V, NOISES, tasks.CAPTION, s) for s in asked[first : first + AT_ONCE]]
            mask = oracle.padded([[1] * len(ids) for ids, _ in read], 0)
            states = theirs.encoder(
                input_ids=oracle.padded([ids for ids, _ in read], 0), attention_mask=mask,
                token_type_ids=oracle.padded([types for _, types in read], 0),
            )  # fmt: skip
            written = theirs.generate(
                encoder_outputs=states, attention_mask=mask, num_beams=4, do_sample=False, max_new_tokens=given.longest,
                min_new_tokens=1, no_repeat_ngram_size=3, length_penalty=0.0, early_stopping=False, suppress_tokens=banned,
                decoder_start_token_id=V.cls_id, bos_token_id=V.cls_id, eos_token_id=end, pad_token_id=0, use_cache=True,
            )  # fmt: skip
            for row in written.tolist():
                ids = row[1:]
                ids = ids[: ids.index(end)] if end in ids else ids
                texts.append(V.decode([i for i in ids if i]))
        return texts

    spent: dict[str, list[float]] = {"ours": [], "transformers": []}
    texts = {}
    with torch.no_grad():
        for _ in range(given.rounds):
            for name, write in (("ours", ours), ("transformers", of_transformers)):
                began = time.process_time()
                texts[name] = write()
                spent[name].append(time.process_time() - began)
    equal = sum(a == b for a, b in zip(texts["ours"], texts["transformers"], strict=True))
    ratios = [b / a for a, b in zip(spent["ours"], spent["transformers"], strict=True)]
    lengths = [len(text.split()) for text in texts["ours"]]
    o = trained.model.options
    print(
        f"{o.num_hidden_layers} × {o.hidden_size}, {V.size} entries; texts of {statistics.mean(lengths):.1f} words"
    )
    for name, seconds in spent.items():
        print(f"{name}: {', '.join(f'{s:.2f}' for s in seconds)} CPU s")
    print(f"ratio {', '.join(f'{r:.2f}' for r in ratios)}; {equal} of {len(asked)} texts are the same")


if __name__ == "__main__":
    main()
