"""The embedded sample corpus: made-up clips in the official layout, for trying the whole pipeline out.

`plan` decides everything about every clip: its labels, its sentence, and what its text, face and voice show. They do
not always show the label: each may be silent about it or mislead, and independently of the others, so that no
modality suffices and together they do better. `make_sample` draws the clips of a plan and writes the tables.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from meiju.config import ComputeConfig, ConfigError
from meiju.data.labels import EMOTIONS, INTENTS
from meiju.features.media import write_clip
from meiju.sample.drawing import FPS, RATE, draw_face, draw_speaker, draw_voice, loudness
from meiju.text.punctuation.base import as_subtitle
from meiju.utils import files
from meiju.utils.compute import run_jobs

README = """A made-up sample corpus

Nothing here is real: the faces are drawn, the voices synthesised, and the sentences come from a small grammar.
The folder has the layout of the MEIJU@2025 challenge's Track 1, so that everything can be tried without its data.
Scores on this sample say nothing about scores in the challenge.

Seed {seed}
"""

SIZES = {"training": 240, "validation": 200, "testing": 48, "unlabelled": 400}
N_SPEAKERS = 150  # more than the training clips can show often


@dataclass(frozen=True)
class Part:
    """How the official layout stores one part of the corpus."""

    prefix: str  # of the clips' names
    clips: str  # folder of the media files
    table: str


PARTS = {
    "training": Part("Training", "Annotation/Training", "Annotation/Training_transcription.csv"),
    "validation": Part("Validation", "Annotation/Validation", "Annotation/Validation_transcription.csv"),
    "testing": Part("Testing", "Annotation/Testing", "Annotation/Mandarin_Testing_files.csv"),
    "unlabelled": Part("NoAnnotation", "NoAnnotation/clips", "NoAnnotation/transcription.csv"),
}
SUBTITLE_GAPS = {"training": 160, "unlabelled": 80}  # of so many clips, one has an empty subtitle

# Shares of the emotions, in the order of EMOTIONS: the selected parts are nearly balanced, everyday talk is not.
SELECTED_EMOTIONS = (0.16, 0.14, 0.14, 0.13, 0.13, 0.13, 0.17)
NATURAL_EMOTIONS = (0.18, 0.12, 0.10, 0.07, 0.12, 0.07, 0.34)
INTENT_SHARES = (0.24, 0.10, 0.08, 0.10, 0.10, 0.13, 0.09, 0.16)  # in the order of INTENTS
# Emotion-intent pairs that go together, or do not, by a factor.
AFFINITIES = {
    ("surprise", "questioning"): 2.5,
    ("fear", "questioning"): 1.6,
    ("sad", "consoling"): 2.5,
    ("sad", "wishing"): 1.6,
    ("fear", "suggesting"): 1.6,
    ("happy", "encouraging"): 1.6,
    ("happy", "wishing"): 1.8,
    ("anger", "consoling"): 0.3,
    ("anger", "wishing"): 0.4,
    ("disgust", "encouraging"): 0.4,
    ("disgust", "wishing"): 0.5,
    ("neutral", "agreeing"): 1.6,
    ("neutral", "suggesting"): 1.4,
}
# The pairs that the selected parts of the official corpus never show.
ABSENT_PAIRS = [(emotion, intent) for emotion in ("happy", "neutral") for intent in ("neutral", "questioning")]

# How often a modality shows the label, and how often nothing in particular; otherwise it misleads.
RELIABILITY = {
    ("text", "emotion"): (0.64, 0.24),
    ("text", "intent"): (0.84, 0.08),
    ("face", "emotion"): (0.74, 0.12),
    ("face", "intent"): (0.50, 0.35),
    ("voice", "emotion"): (0.74, 0.12),
    ("voice", "intent"): (0.55, 0.30),
}

# The grammar: templates and words, separated by spaces; what stands earlier is drawn more often.
SLOTS = {
    "person": "小林 老周 阿芳 李医生 王老师 我妈 她爸 陈经理 二叔 奶奶 班长 房东 大刘 小雪 师傅",
    "place": "公司 医院 学校 车站 楼下 超市 老家 机场 菜市场 派出所 餐厅 银行 河边 厂里",
    "thing": "钥匙 合同 手机 照片 行李 戒指 药 报告 车票 箱子 账本 日记 雨伞 录音 礼物",
    "deed": "休息一下 报警 打个电话 回家看看 吃顿饭 坐火车 请个假 搬出去 道个歉 等几天 去医院检查 从头再来",
    "wish": "早日康复 平平安安 一切顺利 心想事成 考上大学 前程似锦 白头到老 工作顺心 早点团圆 生意兴隆",
    "time": "今天 昨晚 早上 刚才 周末 上个月 前天 半夜",
}
ADDRESSES = "{person} 你看 哎 这个 那个 其实 说真的 喂 是这样 对了 听我说 老实讲"
EVENTS = """{person}{time}去了{place} {thing}放在{place}了 {person}把{thing}带走了 {time}他们到了{place}
    {person}知道这件事了 {time}{thing}送来了"""
STATEMENTS = f"""{EVENTS} {{person}}打算{{deed}} {{thing}}是{{person}}的 {{time}}我路过{{place}}
    我跟{{person}}说好{{deed}} {{place}}离这儿不远 {{person}}住在{{place}}旁边
    {{thing}}我交给{{person}}了 他们在{{place}}等"""
EMOTION_CLAUSES = {
    "happy": """太好了 真开心 笑死我了 今天是个好日子 我高兴得睡不着 总算等到这一天 这{thing}我太喜欢了
        真是双喜临门 心里美滋滋的 咱们好好庆祝 我中奖了 {person}考上了 日子越过越甜""",
    "surprise": """天哪 真没想到 怎么可能 居然是{person} 你竟然来了 不会吧 我没看错吧 太突然了 这也太巧了
        {thing}怎么变样了 从来没听说过 哇 {person}竟然会这个""",
    "sad": """我心里难受 眼泪止不住 再也回不去了 {person}离开了 我舍不得 都怪我命苦 一个人好孤单 什么都没了
        我想{person}了 心都碎了 日子真难熬 我真的好累 只剩下这{thing}了""",
    "disgust": """真恶心 少来这一套 一股怪味 看见就烦 脏死了 真不要脸 受不了{person}那样 谁稀罕 倒胃口
        俗气得很 虚伪透了 这{thing}也太难看 我才不沾这种事""",
    "anger": """你给我站住 气死我了 太过分了 滚出去 够了 别欺人太甚 谁让你动我的{thing} 我跟你没完 岂有此理
        你还有脸说 简直胡闹 闭嘴 叫{person}出来""",
    "fear": """别过来 我好害怕 外面有声音 求求你 他会找上门的 我腿都软了 千万别出声 有人跟着我 这里太黑了
        救命 万一出事可糟了 我不敢看 {thing}自己在动""",
    "neutral": STATEMENTS,
}
INTENT_CLAUSES = {
    # Only the voice, or the mark at its end, tells an event that is asked about from one that is told.
    "questioning": f"""你去哪儿了 {{person}}呢 这是谁的{{thing}} 为什么不早说 你几点回来 {EVENTS}
        到底怎么回事 你认识{{person}}吗 {{thing}}还在吗 谁告诉你的 要多少钱 你明天有空没有 是不是{{person}}说的""",
    "agreeing": """我同意 就这么办 听你的 没问题 你说得对 按你说的来 可以 我也这么想 一言为定 我答应你 成交 正合我意
        那就{deed}""",
    "acknowledging": """我知道了 明白了 收到 原来如此 我记下了 嗯 这样啊 我懂你的意思 心里有数 早就听说了 难怪 了解
        {person}跟我讲过""",
    "encouraging": """加油 你一定行 别放弃 再坚持一下 相信自己 我支持你 你已经很棒了 大胆去做 拿出勇气来
        下次一定成功 你比{person}强多了 慢慢来不着急 {deed}难不倒你""",
    "consoling": """别难过了 会过去的 有我在呢 不是你的错 想哭就哭吧 没事的 别往心里去 我陪着你 一切都会好的
        不要自责 先喝口水歇歇 人没事就好 {thing}丢了就丢了""",
    "suggesting": """不如去{place} 要不{deed}吧 你最好{deed} 咱们先{deed} 我看还是{deed} 应该找{person}商量
        可以试试{deed} 换个{thing}吧 干脆{deed} 何不{deed} 依我看先等等 建议你{deed}""",
    "wishing": """祝你{wish} 但愿{wish} 希望{person}{wish} 愿你{wish} 要是能{deed}就好了 盼着你{wish} 求老天保佑
        真想{deed} 祝{person}{wish} 等着你的好消息 一路平安 愿天下太平""",
    "neutral": STATEMENTS,
}
EXCLAIMED = {"happy", "surprise", "anger", "fear", "encouraging", "wishing"}


def make_sample(root: Path, *, seed: int = 0, sizes: dict[str, int] | None = None, n_jobs: int) -> int:
    """Write the sample corpus to the folder `root`, or what is still missing of it; returns how many clips were.

    A clip that is there is not drawn again; the tables come last, so a corpus with tables is whole.
    sizes: clips of each part, SIZES where none are given; n_jobs: processes that draw. Raises ConfigError if the folder
    holds anything else.
    """
    # The folder's README notes the seed, so that two samples never mix in it.
    readme, text = root / "README.txt", README.format(seed=seed)
    is_this_sample = readme.exists() and readme.read_text(encoding="utf-8") == text
    if root.exists() and any(root.iterdir()) and not is_this_sample:
        what = f"{root} holds other data than the sample of seed {seed}"
        raise ConfigError(f"--corpus.root: {what}; delete it or choose another folder")
    files.write_text(readme, text)
    clips = plan(seed, sizes or SIZES)
    jobs = [(root, clip, seed) for clip in clips.itertuples() if not _clip_path(root, clip).exists()]
    files.sweep(root)
    written = run_jobs(ComputeConfig(), _write_clip, jobs, n_jobs=n_jobs, folder=root)
    for _ in tqdm(written, "sample clips", len(jobs), disable=None):
        pass
    for part, table in _tables(clips).items():
        files.write_text(root / PARTS[part].table, table)
    return len(jobs)


def plan(seed: int, sizes: dict[str, int]) -> pd.DataFrame:
    """Everything about every clip of parts of the given sizes; a part's first clips do not depend on its size.

    Columns: name, part, number (in its part), sentence (as the corpus gives it), punctuated (with its marks), emotion,
    intent, what text, face and voice show of both (text_emotion ... voice_intent), speaker, seconds.
    """
    return pd.DataFrame(_plan_clip(seed, part, number) for part, size in sizes.items() for number in range(size))


def draw_clip(clip, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames [T, height, width, 3] uint8 and samples [N] float32 of one row of the plan made with the same seed."""
    rng = _generator(seed, "clip", clip.part, clip.number)
    speaker = draw_speaker(_generator(seed, "speaker", clip.speaker))
    samples = draw_voice(speaker, clip.voice_emotion, clip.voice_intent, seconds=clip.seconds, rng=rng)
    speech = loudness(samples, round(clip.seconds * FPS))
    return draw_face(speaker, clip.face_emotion, clip.face_intent, speech=speech, rng=rng), samples


def _generator(seed: int, *path: str | int) -> np.random.Generator:
    """A random stream of its own for each thing that is drawn, so that clips can be drawn in any order."""
    return np.random.default_rng([seed, *"/".join(map(str, path)).encode()])


def _plan_clip(seed: int, part: str, number: int) -> dict:
    rng = _generator(seed, "plan", part, number)
    emotion, intent = _draw_labels(rng, natural=part == "unlabelled")
    shown = {
        f"{modality}_{task}": _draw_shown(rng, *label, *RELIABILITY[modality, task])
        for modality in ("text", "face", "voice")
        for task, label in {"emotion": (emotion, EMOTIONS), "intent": (intent, INTENTS)}.items()
    }
    punctuated = _draw_sentence(rng, shown["text_emotion"], shown["text_intent"])
    gap = SUBTITLE_GAPS.get(part)
    without_subtitle = gap and number % gap == gap // 2
    sentence = punctuated if part == "training" else as_subtitle(punctuated)
    return {
        "name": f"Sample_{PARTS[part].prefix}_{number + 1:05d}",
        "part": part,
        "number": number,
        "sentence": "" if without_subtitle else sentence,
        "punctuated": punctuated,
        "emotion": emotion,
        "intent": intent,
        **shown,
        "speaker": int(rng.integers(N_SPEAKERS)),
        "seconds": float(rng.integers(8, 17)) / FPS,
    }


def _draw_labels(rng: np.random.Generator, *, natural: bool) -> tuple[str, str]:
    """An emotion and an intent: the emotion by its share, the intent by its own and how it goes with the emotion."""
    emotion = str(rng.choice(EMOTIONS, p=NATURAL_EMOTIONS if natural else SELECTED_EMOTIONS))
    pairs = [(emotion, intent) for intent in INTENTS]
    weights = np.array(INTENT_SHARES) * [AFFINITIES.get(pair, 1) for pair in pairs]
    weights *= [natural or pair not in ABSENT_PAIRS for pair in pairs]
    return emotion, str(rng.choice(INTENTS, p=weights / weights.sum()))


def _draw_shown(rng: np.random.Generator, label: str, labels: tuple[str, ...], p_shown: float, p_nothing: float) -> str:
    """What a modality shows of a label: the label, nothing in particular ('neutral'), or any other."""
    chance = rng.random()
    if chance < p_shown:
        return label
    if chance < p_shown + p_nothing:
        return "neutral"
    return str(rng.choice([other for other in labels if other != label]))


def _draw_sentence(rng: np.random.Generator, emotion: str, intent: str) -> str:
    """A punctuated sentence of one clause for the emotion, one for the intent, and perhaps some that mean nothing."""
    clauses = [
        _fill(rng, EMOTION_CLAUSES[emotion]) + _mark(rng, emotion),
        _fill(rng, INTENT_CLAUSES[intent]) + _mark(rng, intent),
    ]
    if rng.random() < 0.25:
        clauses.reverse()
    if rng.random() < 0.25:
        clauses.insert(int(rng.integers(3)), _fill(rng, STATEMENTS) + "，")
    if rng.random() < 0.4:
        clauses.insert(0, _fill(rng, ADDRESSES) + "，")
    return re.sub("，$", "。", "".join(clauses))


def is_sample(root: Path | None) -> bool:
    """Whether a folder holds a sample corpus, of any seed."""
    readme = root / "README.txt" if root else None
    return bool(readme) and readme.is_file() and readme.read_bytes().startswith(README.splitlines()[0].encode())


def _mark(rng: np.random.Generator, meaning: str) -> str:
    """The mark after a clause that shows an emotion or an intent."""
    if meaning == "questioning":
        return "？"
    return "！" if meaning in EXCLAIMED and rng.random() < 0.6 else "，"


def _fill(rng: np.random.Generator, templates: str) -> str:
    """One of the templates with a word in each of its slots."""
    return _pick(rng, templates).format(**{slot: _pick(rng, words) for slot, words in SLOTS.items()})


def _pick(rng: np.random.Generator, choices: str) -> str:
    """One of the choices, early ones more often than late ones."""
    words = choices.split()
    odds = 1 / np.arange(1, len(words) + 1)
    return str(rng.choice(words, p=odds / odds.sum()))


def _clip_path(root: Path, clip) -> Path:
    return root / PARTS[clip.part].clips / f"{clip.name}.mp4"


def _write_clip(root: Path, clip, seed: int) -> None:
    with files.atomic_path(_clip_path(root, clip)) as path:
        write_clip(path, *draw_clip(clip, seed), fps=FPS, rate=RATE)


def _tables(clips: pd.DataFrame) -> dict[str, str]:
    """Each part's table as csv text, with the quirks of the official files."""
    official = clips.assign(FileName=clips.name + ".mp4", Subtitle=clips.sentence)
    labelled, unlabelled = ["FileName", "Subtitle", "emotion", "intent"], ["name", "sentence"]
    rows = {part: official[official.part == part].reset_index() for part in PARTS}
    return {
        "training": "\ufeff" + rows["training"][labelled].to_csv(index=False),
        "validation": rows["validation"][labelled].to_csv(),
        "testing": rows["testing"][["FileName", "Subtitle"]].to_csv(index=False),
        "unlabelled": rows["unlabelled"][unlabelled].to_csv(index=False),
    }
