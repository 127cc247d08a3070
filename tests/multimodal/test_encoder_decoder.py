"""BART and T5 against `transformers.EncoderDecoderModel` of two BERTs with the same weights: loss, logits, gradients, and texts."""

import dataclasses

import joint_samples
import pytest
import torch

from multimodal.examples import tasks
from multimodal.examples.packing import Example, pack
from multimodal.inference import cloze, writing
from multimodal.inference.beam import BeamOptions
from multimodal.inference.trained import Trained
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.systems import SYSTEMS
from multimodal.terms import TEXT

transformers = pytest.importorskip("transformers")
NAMES = ("bart", "t5")


def objective(name: str, seed: int = 3) -> PretrainingObjective:
    """Random weights that are large enough for all of them to count."""
    row = SYSTEMS[name]
    found = PretrainingObjective(
        joint_samples.model_of(row, seed), joint_samples.vocabulary_of(row), system=row, seed=seed
    ).eval()
    for n, parameter in enumerate(found.parameters()):
        parameter.data += 0.15 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
    return found


def theirs(found: PretrainingObjective) -> torch.nn.Module:
    """Their model: the decoder's rows, positions and types are the encoder's, as ours share them."""
    o = dataclasses.asdict(found.model.options)
    encoder, decoder = (
        transformers.BertConfig(
            **{k: o[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                                 "max_position_embeddings", "layer_norm_eps")},
            is_decoder=decodes, add_cross_attention=decodes, attn_implementation="eager", pad_token_id=0,
        )
        for decodes in (False, True)
    )  # fmt: skip
    whole = transformers.EncoderDecoderModel(
        encoder=transformers.BertModel(encoder, add_pooling_layer=False),
        decoder=transformers.BertLMHeadModel(decoder),
    ).eval()
    state = found.model.state_dict()
    ours = {
        n.removeprefix("bert."): t for n, t in state.items() if n.startswith("bert.") and "pooler" not in n
    }
    whole.encoder.load_state_dict(ours)
    writer = found.terms[TEXT].writer
    there = {f"bert.{n}": t for n, t in ours.items() if n.startswith("embeddings.")}
    there["bert.embeddings.LayerNorm.weight"] = writer.decoder.input_norm.weight
    there["bert.embeddings.LayerNorm.bias"] = writer.decoder.input_norm.bias
    for n, layer in enumerate(writer.decoder.layers):
        at = f"bert.encoder.layer.{n}."
        for own, name, norm in (
            (layer.self_attn, "attention", layer.norm1),
            (layer.multihead_attn, "crossattention", layer.norm2),
        ):
            for kind in ("weight", "bias"):
                packed = getattr(own, f"in_proj_{kind}").chunk(3)
                for part, tensor in zip(("query", "key", "value"), packed, strict=True):
                    there[f"{at}{name}.self.{part}.{kind}"] = tensor
                there[f"{at}{name}.output.dense.{kind}"] = getattr(own.out_proj, kind)
                there[f"{at}{name}.output.LayerNorm.{kind}"] = getattr(norm, kind)
        for kind in ("weight", "bias"):
            there[f"{at}intermediate.dense.{kind}"] = getattr(layer.linear1, kind)
            there[f"{at}output.dense.{kind}"] = getattr(layer.linear2, kind)
            there[f"{at}output.LayerNorm.{kind}"] = getattr(layer.norm3, kind)
    for name, tensor in writer.decoder.transform.state_dict().items():
        there[f"cls.predictions.transform.{name}"] = tensor
    table = ours["embeddings.word_embeddings.weight"]
    there |= {"cls.predictions.bias": writer.bias, "cls.predictions.decoder.bias": writer.bias}
    there["cls.predictions.decoder.weight"] = table
    missing, unexpected = whole.decoder.load_state_dict(there, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return whole


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, fill)


def grid(examples: list[Example], pad: int) -> dict[str, torch.Tensor]:
    ids = [example.ids for example in examples]
    labels = [[-100] * len(example.target.ids) for example in examples]
    for row, example in zip(labels, examples, strict=True):
        for asked in example.target.asks.values():
            for place, label in asked:
                row[place] = label
    return {
        "input_ids": padded(ids, pad), "attention_mask": padded([[1] * len(row) for row in ids], 0),
        "decoder_input_ids": padded([e.target.ids for e in examples], pad), "labels": padded(labels, -100),
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_loss_logits_and_gradients_are_those_of_transformers(name):
    found, examples = objective(name), joint_samples.examples(system=SYSTEMS[name])
    items = [*range(8), len(examples) - 1, len(examples) - 2]
    drawn = [e for item in items for e in examples.draw(0, item) if e.target]
    assert len({term for e in drawn for term in e.target.asks}) == 4
    batch = pack(drawn)
    reading, whole = found.read(batch), theirs(found)
    there = grid(drawn, 0)
    types = padded([example.types for example in drawn], 0)
    states = whole.encoder(
        input_ids=there["input_ids"], attention_mask=there["attention_mask"], token_type_ids=types
    )
    answer = whole(
        encoder_outputs=states, attention_mask=there["attention_mask"], decoder_input_ids=there["decoder_input_ids"]
    )  # fmt: skip
    real = padded([[1] * len(e.target.ids) for e in drawn], 0).bool()
    logits = reading.cloze(torch.arange(batch.target.tokens))
    torch.testing.assert_close(logits, answer.logits[real], atol=1e-5, rtol=1e-5)
    asked = there["labels"] != -100
    loss = torch.nn.functional.cross_entropy(answer.logits[asked], there["labels"][asked])
    term = found.terms[TEXT]
    ours = term(reading, batch, lambda rows: rows).sum() / sum(term.counts(batch))
    assert ours.item() == pytest.approx(loss.item(), abs=1e-5, rel=1e-5)
    ours.backward()
    loss.backward()
    both = [m.embeddings.word_embeddings.weight.grad for m in (whole.encoder, whole.decoder.bert)]
    # Their output rows are a copy here, not the decoder's own: their gradient comes to it.
    head = whole.decoder.cls.predictions.decoder.weight
    both += [] if head is whole.decoder.bert.embeddings.word_embeddings.weight else [head.grad]
    expected, table = sum(both), found.model.bert["embeddings"].word_embeddings.weight.grad
    # `transformers` gives the row of padding no gradient.
    torch.testing.assert_close(table[1:], expected[1:], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(
        found.model.bert["encoder"]["layer"][0].output.dense.weight.grad,
        whole.encoder.encoder.layer[0].output.dense.weight.grad,
        atol=1e-6,
        rtol=1e-3,
    )


def opened(name: str, tmp_path) -> Trained:
    found = objective(name)
    return Trained(
        "untrained", tmp_path, found.model, found.vocabulary, "c", writer=found.terms[TEXT].writer, form=SYSTEMS[name].mask_unit
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beams, no_repeat", [(1, 0), (4, 3), (5, 2)])
def test_what_is_written_is_what_transformers_generate_writes(name, beams, no_repeat, tmp_path):
    trained = opened(name, tmp_path)
    V, whole = trained.vocabulary, theirs(objective(name))
    random = torch.Generator().manual_seed(0)
    runs = [torch.randint(16, (n % 7 + 1,), generator=random).tolist() for n in range(24)]
    options = BeamOptions(beams=beams, length_penalty=0.0, no_repeat=no_repeat)
    asked = [[((), run)] for run in runs]
    found = [text for text, _ in writing.write(trained, tasks.CAPTION, asked, 12, options)]
    end = tasks.end_of(V, trained.form, tasks.CAPTION)
    allowed = {end, *V.replaceable_words}
    banned = [[i] for i in range(V.size) if i not in allowed]
    read = [tasks.prompt(V, trained.form, tasks.CAPTION, segments) for segments in asked]
    mask = padded([[1] * len(ids) for ids, _ in read], 0)
    with torch.no_grad():
        states = whole.encoder(
            input_ids=padded([ids for ids, _ in read], 0), attention_mask=mask, token_type_ids=padded([t for _, t in read], 0)
        )  # fmt: skip
        written = whole.generate(
            encoder_outputs=states, attention_mask=mask, num_beams=beams, do_sample=False, max_new_tokens=12, min_new_tokens=1,
            no_repeat_ngram_size=no_repeat, length_penalty=0.0, early_stopping=False, bad_words_ids=banned,
            decoder_start_token_id=V.cls_id, bos_token_id=V.cls_id, eos_token_id=end, pad_token_id=0,
        )  # fmt: skip
    expected = []
    for row in written.tolist():
        ids = row[1:]
        ids = ids[: ids.index(end)] if end in ids else ids
        expected.append(V.decode([i for i in ids if i]))
    assert found == expected
    assert len(set(found)) > 3, "texts that are all alike would show nothing"


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_is_asked_with_all_that_is_known_before_it(name, tmp_path):
    """One blank: the state that the decoder has after what stands before, when the true text is put in."""
    trained = opened(name, tmp_path)
    V = trained.vocabulary
    words = V.encode("now cut the onion")
    asked = [(words[:1] + [V.mask] + words[2:], [3, 4]), ([V.mask, *words[1:]], None)]
    found = cloze.blank_log_probabilities(trained, [w for w, _ in asked], [t for _, t in asked])
    assert [tuple(p.shape) for p in found] == [(1, len(V.words))] * 2
    for p, (text, run) in zip(found, asked, strict=True):
        ids, types = cloze.sequence(V, text, run)
        place = ids.index(V.mask)
        if name == "bart":
            target = [V.cls_id, *ids[1:place]]
        else:
            ids[place], target = V.sentinel(0), [V.cls_id, V.sentinel(0)]
        reading = pack([Example(ids, types, target=Example(target, [0] * len(target)))])
        state = writing.TargetReader(trained.model, trained.writer).encode(reading)[-1:]
        logits = trained.writer.logits(trained.model, state)[0, : len(V.words)]
        allowed = torch.full_like(logits, -torch.inf)
        allowed[list(V.replaceable_words)] = 0
        torch.testing.assert_close(p[0], torch.log_softmax(logits + allowed, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_coming_clips_are_those_of_all_ways_to_go_on(name, tmp_path):
    """The second clip's probabilities are the mean over the first; with enough samples, of all of them."""
    trained = opened(name, tmp_path)
    V = trained.vocabulary
    context = [3, 7, 1]
    first = writing.coming_probabilities(trained, [context, [2]], 1, [(), ()])
    torch.testing.assert_close(first.sum(-1), torch.ones(2, 1))
    exact = torch.zeros(V.visual)
    for token, p in enumerate(first[0, 0].tolist()):
        if name == "bart":
            ids, types = cloze.sequence(V, (), [*context, -1])
            target = [*ids[:-2], V.first_visual + token]
        else:
            ids, types = tasks.prompt(V, trained.form, tasks.NEXT, [((), context)])
            target = [V.cls_id, V.first_visual + token]
        reading = pack([Example(ids, types, target=Example(target, [0] * len(target)))])
        state = writing.TargetReader(trained.model, trained.writer).encode(reading)[-1:]
        exact += p * trained.writer.logits(trained.model, state)[0, V.visual_ids].softmax(-1)
    found = torch.stack(
        [writing.coming_probabilities(trained, [context], 2, [()], seed)[0, 1] for seed in range(12)]
    )
    assert float((found.mean(0) - exact).detach().abs().max()) < 0.04
    again = writing.coming_probabilities(trained, [[2], context], 2, [(), ()])
    once = writing.coming_probabilities(trained, [[2], context], 2, [(), ()])
    assert torch.equal(again, once)
