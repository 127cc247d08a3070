"""ELECTRA against `transformers`' classes with the same weights, its sampling, and its generator in what is stored."""

import dataclasses

import joint_samples
import padding
import pytest
import torch
from safetensors.torch import load_file

from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference import cloze
from multimodal.inference.trained import Trained
from multimodal.joint.generator import GeneratorReader
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.objectives.objective import TERM_FILE
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.objectives.replaced import ReplacedTokens, generator_of
from multimodal.systems import SYSTEMS
from multimodal.terms import ALIGNMENT, JOINT, REPLACED, TEXT, VIDEO
from multimodal.training.pretraining import trim
from multimodal.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
ELECTRA = SYSTEMS["electra"]
KITCHEN = joint_samples.examples(system=ELECTRA)
CLOZE = (TEXT, VIDEO, JOINT)


def objective(seed: int = 3) -> PretrainingObjective:
    """Random weights that are large enough for all of them to count."""
    found = PretrainingObjective(joint_samples.model(seed), V, system=ELECTRA, seed=seed).eval()
    for parameter in found.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    return found


def drawn(count: int = 12) -> list[Example]:
    items = [*range(count), len(KITCHEN) - 1, len(KITCHEN) - 2]
    return [example for item in items for example in KITCHEN.draw(0, item) if REPLACED in example.asks]


def config(o: ModelOptions, **own: int) -> "transformers.ElectraConfig":
    same = dataclasses.asdict(o)
    same.pop("frozen_rows")
    return transformers.ElectraConfig(
        **same | {"embedding_size": o.hidden_size, "attn_implementation": "eager"} | own
    )


def discriminator(found: PretrainingObjective) -> torch.nn.Module:
    theirs = transformers.ElectraForPreTraining(config(found.model.options)).eval()
    state = found.model.state_dict()
    renamed = {
        n.replace("bert.", "electra."): t for n, t in state.items() if "pooler" not in n and "cls" not in n
    }
    own = found.terms[REPLACED].state_dict()
    renamed |= {f"discriminator_predictions.{n}": t for n, t in own.items() if n.startswith("dense")}
    theirs.load_state_dict(renamed)
    return theirs


def generator(found: PretrainingObjective) -> torch.nn.Module:
    own = found.terms[REPLACED].generator
    width = own.embeddings_project.out_features
    heads = own.layers[0].attention["self"].heads
    narrow = config(
        found.model.options, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width
    )
    theirs = transformers.ElectraForMaskedLM(narrow).eval()
    state = found.model.state_dict()
    renamed = {n.replace("bert.", "electra."): t for n, t in state.items() if "bert.embeddings" in n}
    for name, tensor in own.state_dict().items():
        place = {
            "layers": "electra.encoder.layer",
            "dense": "generator_predictions.dense",
            "LayerNorm": "generator_predictions.LayerNorm",
            "embeddings_project": "electra.embeddings_project",
            "bias": "generator_lm_head.bias",
        }
        first, _, rest = name.partition(".")
        renamed[f"{place[first]}.{rest}".rstrip(".")] = tensor
    missing, unexpected = theirs.load_state_dict(renamed, strict=False)
    assert not unexpected and set(missing) <= {"generator_lm_head.weight"}
    theirs.tie_weights()
    return theirs


def test_losses_logits_and_gradients_are_those_of_transformers():
    found, examples = objective(), drawn()
    batch, grid = pack(examples), padding.padded(examples, V.pad)
    grid.pop("next_sentence_label")
    there = grid["attention_mask"].bool()
    reading = found.read(batch)
    sums = dict(zip(found.names, found._sums(batch, lambda rows: rows), strict=True))
    counts = dict(zip(found.names, found.counts(batch).tolist(), strict=True))

    narrow = generator(found)
    theirs = narrow(**grid)
    ours = sum(sums[name] for name in CLOZE) / sum(counts[name] for name in CLOZE)
    assert ours.item() == pytest.approx(theirs.loss.item(), abs=1e-5, rel=1e-5)
    masked = grid["labels"] != -100
    torch.testing.assert_close(reading.logits_MV, theirs.logits[masked], atol=1e-5, rtol=1e-5)

    wide = discriminator(found)
    filled = grid["input_ids"].clone()
    filled[there] = reading.ids_T
    original = torch.zeros_like(filled)
    original[there] = torch.tensor([i for example in examples for i in padding.read(example)])
    judged = wide(
        input_ids=filled,
        token_type_ids=grid["token_type_ids"],
        attention_mask=grid["attention_mask"],
        labels=(filled != original).long(),
    )
    replaced = sums[REPLACED] / counts[REPLACED]
    assert counts[REPLACED] == batch.tokens
    assert replaced.item() == pytest.approx(judged.loss.item(), abs=1e-5, rel=1e-5)

    # One table for both networks: its gradient is the sum of theirs.
    (ours + 50 * replaced).backward()
    (theirs.loss + 50 * judged.loss).backward()
    both = [m.electra.embeddings.word_embeddings.weight.grad for m in (narrow, wide)]
    torch.testing.assert_close(
        found.model.bert["embeddings"].word_embeddings.weight.grad, sum(both), atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(
        found.terms[REPLACED].generator.layers[1].output.dense.weight.grad,
        narrow.electra.encoder.layer[1].output.dense.weight.grad,
        atol=2e-6,
        rtol=1e-3,
    )


def test_no_gradient_goes_through_the_sampling():
    found = objective()
    batch = pack(drawn())
    found.terms[REPLACED](found.read(batch), batch, lambda rows: rows).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in found.terms[REPLACED].generator.parameters())
    assert found.model.bert["encoder"]["layer"][0].output.dense.weight.grad.any()


def test_a_sample_is_of_its_own_modality_and_where_it_is_right_the_label_is_original():
    found, examples = objective(), drawn(8)
    batch = pack(examples)
    term = found.terms[REPLACED].train()
    masked = batch.ids_T == V.mask
    visual = batch.asks[REPLACED][:, 1] >= V.first_visual
    right = 0
    for seed in range(30):
        torch.manual_seed(seed)
        reading = term.read(found.model, batch)
        filled, original = reading.ids_T, batch.asks[REPLACED][:, 1]
        assert torch.equal(filled[~masked], batch.ids_T[~masked])
        assert not (filled[:, None] == torch.tensor([V.mask, V.cls_id, V.unknown])).any(1)[masked].any()
        assert torch.equal((filled >= V.first_visual)[masked], visual[masked])
        # A head that always says "original" pays for what differs, and for nothing else.
        term.dense_prediction.weight.data.zero_()
        term.dense_prediction.bias.data.fill_(-40.0)
        loss = term(reading, batch, lambda rows: rows).item()
        assert loss == pytest.approx(40.0 * (filled != original).sum().item(), rel=1e-4)
        right += (filled == original)[masked].sum().item()
        torch.manual_seed(seed)
        assert torch.equal(term.read(found.model, batch).ids_T, filled), "a function of the random state"
    assert 0 < right < 30 * masked.sum(), "both happened"


def test_samples_have_the_probabilities_of_the_generator():
    term = ReplacedTokens(joint_samples.options(), V).train()
    logits = torch.randn(1, V.size, generator=torch.Generator().manual_seed(1)) * 2
    torch.manual_seed(0)
    many = term._sample(logits.expand(20000, -1), torch.ones(20000, dtype=torch.long))
    share = torch.bincount(many, minlength=V.size)[V.first_visual :] / 20000
    torch.testing.assert_close(share, logits[0, V.first_visual :].softmax(0), atol=0.012, rtol=0)


def test_no_mask_is_left_where_a_pair_is_misaligned():
    """Else a mask would tell it: such a pair asks for no token."""
    examples = [e for item in range(10) for e in KITCHEN.draw(0, item) if ALIGNMENT in e.asks]
    assert any(REPLACED not in e.asks and V.mask in e.ids for e in examples)
    assert V.mask not in objective().read(pack(examples)).ids_T


def stored(tmp_path) -> tuple[PretrainingObjective, Vocabulary]:
    """An objective of a trimmed vocabulary, written as a training writes it, and the whole vocabulary."""
    whole = dataclasses.replace(V, words=(*V.words, "zucchini", "##ni", "pan"))
    spoken = joint_samples.segments(joint_samples.materials(3))
    train, held = (
        joint_samples.Examples.of(whole, *spoken, joint_samples.ExampleOptions(), 0, system=ELECTRA)
        for _ in range(2)
    )
    trimmed = trim(whole, train, held)
    model = trimmed.begin(joint_samples.model(5, vocab_size=whole.size)).eval()
    found = PretrainingObjective(model, whole, trimmed=trimmed, system=ELECTRA, seed=5).eval()
    found.terms[REPLACED].generator.bias.data.normal_()
    found.save(tmp_path, found.state_dict())
    again = PretrainingObjective(
        JointBert(trimmed.trimmed_options(ModelOptions.load(tmp_path))),
        whole,
        trimmed=trimmed,
        system=ELECTRA,
    )
    again.load(tmp_path)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in found.state_dict().items()), "to the bit"
    return found, whole


def test_blanks_are_filled_by_the_stored_generator(tmp_path):
    """The folder opens in `transformers`; over the kept pieces its generator says what it said in training."""
    found, whole = stored(tmp_path)
    _, about = transformers.BertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"]
    model = JointBert.load(tmp_path)
    own = generator_of(model.options, load_file(tmp_path / TERM_FILE))
    trained = Trained("electra", tmp_path, model, whole, "codebook", generator=own)
    kept = found.trimmed.vocabulary
    places = [*kept.kept, *range(len(whole.words), whole.size)]
    ids, types = sequence(whole, [*whole.encode("now"), whole.mask, *whole.encode("the onion")], [1, -1, 3])
    ((logits, counts),) = cloze.masked_logits(trained, [(ids, types)])
    assert counts == [ids.count(whole.mask)] and logits.shape == (counts[0], whole.size)
    here = pack([Example([places.index(i) for i in ids], types)])
    reader = GeneratorReader(found.model, found.terms[REPLACED].generator)
    ours = reader.cloze(reader.encode(here)[here.ids_T == kept.mask])
    torch.testing.assert_close(logits[:, places], ours, atol=1e-5, rtol=1e-5)
    others = [i for i in range(whole.size) if i not in places]
    unseen = (logits[:, others].logsumexp(1) - logits.logsumexp(1)).mean().exp()
    assert 0 < unseen < 0.2, "words that nobody says are unlikely"
    words = cloze.blank_log_probabilities(trained, [whole.encode("now") + [whole.mask]], [()])
    assert words[0].exp().sum() == pytest.approx(1, abs=1e-4)
