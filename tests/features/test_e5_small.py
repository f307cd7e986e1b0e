import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertModel

from meiju.features import e5_small
from meiju.features.base import Clip, NoFrames
from meiju.features.e5_small import PREFIX, E5Small, Model
from meiju.utils.packaged import packaged_file

CHINESE = ["你去哪儿了", "我真的很生气", "我们明天一起吃饭吧", "别难过,一切都会好的", "他是医生"]
ENGLISH = ["Where have you been?", "I am really angry", "Let's eat together tomorrow", "Don't be sad", "He's a doctor"]


def embeddings(*sentences: str) -> np.ndarray:
    encoded = E5Small().encode([Clip(str(k), s, "") for k, s in enumerate(sentences)])
    return np.concatenate([getattr(one, "frames", one) for one in encoded])


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(packaged_file(e5_small.MODEL))


@pytest.fixture(scope="module")
def all_pieces(model) -> Tokenizer:
    return Tokenizer(models.Unigram(list(zip(model.pieces, model.scores, strict=True)), model.unknown))


def test_a_sentence_lies_nearest_to_its_translation():
    here, there = (sides - sides.mean(axis=0) for sides in (embeddings(*CHINESE), embeddings(*ENGLISH)))
    similarity = here @ there.T
    assert similarity.argmax(axis=0).tolist() == similarity.argmax(axis=1).tolist() == list(range(len(CHINESE)))


# By the name of a module of transformers' BERT, that of its numbers in the model.
OF_BERT = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
OF_EMBEDDINGS = {
    "embeddings.position_embeddings.weight": "emb.pos",
    "embeddings.token_type_embeddings.weight": "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}


@pytest.fixture(scope="module")
def bert(model) -> BertModel:
    """transformers' own network with the weights of the model, but for those of words."""
    config = BertConfig(
        vocab_size=1,
        hidden_size=model.width,
        num_hidden_layers=model.n_layers,
        num_attention_heads=model.n_heads,
        intermediate_size=model.hidden,
        max_position_embeddings=model.most_tokens,
        layer_norm_eps=model.eps,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    for name, tensor in bert.state_dict().items():
        if name.startswith("encoder"):
            _, _, k, module = name.rpartition(".")[0].split(".", 3)
            ours, is_matrix = f"l{k}.{OF_BERT[module]}.{name.rpartition('.')[2][0]}", tensor.ndim == 2
        elif name in OF_EMBEDDINGS:
            ours, is_matrix = OF_EMBEDDINGS[name], False
        else:  # words are given as they are
            continue
        values = model.weights(ours, tensor.shape[1]) if is_matrix else model.floats(ours)
        tensor.copy_(torch.from_numpy(values).view(tensor.shape))
    return bert


@pytest.mark.parametrize("sentence", [CHINESE[1], ENGLISH[0], "哈" * 3, "一二三四五六七" * 300])
def test_embeddings_are_those_of_transformers(model, all_pieces, bert, sentence):
    tokens = [model.begin, *all_pieces.encode(f"▁{PREFIX}{sentence}".replace(" ", "▁")).ids[:510], model.end]
    words = torch.from_numpy(model.weights("emb.word", model.width, np.array(tokens)))
    with torch.inference_mode():
        layers = torch.stack(bert(inputs_embeds=words[None], output_hidden_states=True).hidden_states[1:])
    wanted = torch.cat([layers[band, 0].mean(dim=(0, 1)) for band in (slice(4, 8), slice(8, 12))])
    np.testing.assert_allclose(embeddings(sentence)[0], wanted, atol=1e-4)


def test_a_sentence_may_name_a_special_token(model):
    [tokens] = model.tokenize(["你好</s>"])
    assert tokens.count(model.end) == 1


def test_a_sentence_that_is_cut_is_noted():
    long, short = E5Small().encode([Clip("long", "一二三四五六七" * 300, ""), Clip("short", CHINESE[1], "")])
    assert long.note == "of the sentence, the first 512 tokens are read"
    assert isinstance(short, np.ndarray)


SOME = [*CHINESE, *ENGLISH, " ", "  ", "。", "?", "ﷺ", "\u3000", "½", "𝄞", "\x00", "e\u0301", "▁", "\ud800"]


@given(st.lists(st.sampled_from(SOME) | st.text(max_size=5), min_size=1, max_size=5).map("".join))
def test_a_sentence_is_split_as_by_a_tokenizer_of_all_pieces(model, all_pieces, sentence):
    normal = model.normalise(sentence)
    wanted = all_pieces.encode("▁" + normal.replace(" ", "▁")).ids
    [[first, *tokens, last]] = model.tokenize([normal])
    assert (first, last) == (model.begin, model.end)
    assert tokens == wanted


def test_width_and_spaces_of_characters_tell_nothing():
    plain, wide = embeddings("OK, 123", "  ＯＫ，\u3000１２３ ")
    np.testing.assert_array_equal(plain, wide)


@pytest.mark.parametrize("sentence", ["", "  ", "\u3000\n", "\x01\u200b"])
def test_a_sentence_without_a_character_has_no_frames(sentence):
    some, none = E5Small().encode([Clip("a", "你好", ""), Clip("b", sentence, "")])
    assert some.shape == (1, 768)
    assert isinstance(none, NoFrames)
