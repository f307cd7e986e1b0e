import wave

import av
import numpy as np
import pytest

from meiju.encoders.media import MediaError, read_audio, read_frames, read_seconds, write_clip

RATE = 16_000


@pytest.fixture
def frames() -> np.ndarray:
    """Two seconds at 8 frames a second; frame k is plain grey of level 10 k."""
    levels = 10 * np.arange(16, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (16, 48, 64, 3)).copy()


@pytest.fixture
def tone() -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)


@pytest.fixture
def clip(tmp_path, frames, tone):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames, tone, fps=8)
    return path


def read(kind: str, path):
    return read_frames(path, fps=8, size=32) if kind == "video" else read_audio(path)


def test_frames_come_back(clip, frames):
    read = read_frames(clip, fps=8, size=32)
    assert read.shape == (16, 32, 32, 3)
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read.mean((1, 2, 3)), frames.mean((1, 2, 3)), atol=4)


def test_sound_comes_back_in_time(clip, tone):
    read = read_audio(clip)
    assert read.dtype == np.float32
    assert 0 <= len(read) - len(tone) < 1024  # the encoder fills its last block up
    inner = slice(1000, 31_000)  # the coder rings where the tone starts and stops
    assert np.abs(read[: len(tone)] - tone)[inner].max() < 0.1


# At 3 a second the intervals begin at 0, 1/3, 2/3 s, ...; the first frames in them are those at 0, 3/8, 6/8 s, ...
@pytest.mark.parametrize(("fps", "numbers"), [(1, [0, 8]), (4, [*range(0, 16, 2)]), (3, [0, 3, 6, 8, 11, 14])])
def test_first_frame_of_each_interval_is_kept(clip, fps, numbers):
    levels = read_frames(clip, fps=fps, size=32).mean((1, 2, 3))
    np.testing.assert_array_equal(np.round(levels / 10), numbers)


def test_no_frame_is_invented(clip):
    assert len(read_frames(clip, fps=100, size=32)) == 16


def test_one_frame_is_enough(tmp_path, frames):
    write_clip(tmp_path / "short.mp4", frames[:1], None, fps=8)
    assert read_frames(tmp_path / "short.mp4", fps=0.5, size=32).shape == (1, 32, 32, 3)


def test_frames_are_cut_to_the_centre_square(tmp_path):
    wide = np.zeros((2, 32, 96, 3), np.uint8)
    wide[:, :, 32:64] = 200
    write_clip(tmp_path / "wide.mp4", wide, None, fps=8)
    square = read_frames(tmp_path / "wide.mp4", fps=8, size=64)[:, :, 4:-4]  # the edges blend
    assert square.min() > 180


def test_seconds_are_those_that_are_played(clip, tmp_path, frames, tone):
    assert read_seconds(clip) == pytest.approx(2, abs=0.1)
    write_clip(tmp_path / "sound.mp4", None, tone[:RATE], fps=8)
    assert read_seconds(tmp_path / "sound.mp4") == pytest.approx(1, abs=0.1)
    write_clip(tmp_path / "pictures.mp4", frames[:4], None, fps=8)
    assert read_seconds(tmp_path / "pictures.mp4") == pytest.approx(0.5, abs=0.1)


def test_seconds_do_not_rest_on_what_the_file_says_of_itself(clip, tmp_path):
    streamed = tmp_path / "streamed.mkv"  # as a browser records it: written without ever going back
    _copy_tracks(clip, streamed, "video", "audio", options={"live": "1"})
    with av.open(str(streamed)) as container:
        assert container.duration is None
    assert read_seconds(streamed) == pytest.approx(2, abs=0.2)


def test_a_file_without_pictures_and_sound_has_no_seconds(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    with pytest.raises(MediaError, match="neither"):
        read_seconds(tmp_path / "a.srt")


def test_mkv_reads_like_mp4(clip, tmp_path):
    _copy_tracks(clip, tmp_path / "clip.mkv")
    np.testing.assert_array_equal(read_frames(tmp_path / "clip.mkv", fps=4, size=32), read_frames(clip, fps=4, size=32))
    assert abs(len(read_audio(tmp_path / "clip.mkv")) - 2 * RATE) <= 2048


@pytest.mark.parametrize("n_frames", [16, 1])
def test_avi(tmp_path, frames, n_frames):
    _write_avi(tmp_path / "clip.avi", frames[:n_frames])
    levels = read_frames(tmp_path / "clip.avi", fps=4, size=32).mean((1, 2, 3))
    np.testing.assert_allclose(levels, frames[:n_frames:2].mean((1, 2, 3)), atol=4)


def test_video_without_a_rate_is_taken_for_25_frames_a_second(clip, tmp_path):
    _copy_tracks(clip, tmp_path / "clip.h264", "video")
    levels = read_frames(tmp_path / "clip.h264", fps=4, size=32).mean((1, 2, 3))
    np.testing.assert_array_equal(np.round(levels / 10), [0, 7, 13])


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_wav_is_resampled(tmp_path, rate):
    _write_wav(tmp_path / "level.wav", np.full((rate, 2), 8192, "<i2"), rate)
    sound = read_audio(tmp_path / "level.wav", rate=RATE)
    assert abs(len(sound) - RATE) <= 2
    assert np.median(sound) == pytest.approx(0.25, abs=0.01)


def test_sound_already_at_the_wanted_rate_passes(tmp_path, tone):
    with av.open(str(tmp_path / "float.wav"), "w") as container:
        track = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        container.mux([*track.encode(frame), *track.encode(None)])
    np.testing.assert_array_equal(read_audio(tmp_path / "float.wav"), tone)


@pytest.mark.parametrize(("kind", "missing"), [("video", "audio"), ("audio", "video")])
def test_missing_track(tmp_path, frames, tone, kind, missing):
    path = tmp_path / "half.mp4"
    write_clip(path, frames if kind == "video" else None, tone if kind == "audio" else None, fps=8)
    assert len(read(kind, path))
    with pytest.raises(MediaError, match=f"no {missing} track"):
        read(missing, path)


@pytest.mark.parametrize("kind", ["video", "audio"])
@pytest.mark.parametrize(
    "content", [b"", b"just some lines of text\n" * 50, bytes(5000)], ids=["empty", "text", "zeros"]
)
def test_what_is_no_media_file(tmp_path, capfd, content, kind):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="not decodable"):
        read(kind, path)
    assert capfd.readouterr().err == ""  # libav keeps its own complaints to itself


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_truncated_file_without_its_index(clip, kind):
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(MediaError, match="not decodable"):
        read(kind, clip)


def test_decoding_that_stops_midway(tmp_path, frames, capfd):
    noise = np.random.default_rng(0).integers(0, 256, frames.shape, dtype=np.uint8)  # so that frames take space
    write_clip(tmp_path / "clip.mp4", noise, None, fps=8)
    path = tmp_path / "index_first.mp4"
    _copy_tracks(tmp_path / "clip.mp4", path, options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="not decodable"):
        read_frames(path, fps=8, size=32)
    assert capfd.readouterr().err == ""


def test_video_without_frames(tmp_path):
    _write_avi(tmp_path / "none.avi", np.empty((0, 48, 64, 3), np.uint8))
    with pytest.raises(MediaError, match="no decodable frame"):
        read_frames(tmp_path / "none.avi", fps=8, size=32)


def test_wrong_path_is_not_a_bad_clip(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "nowhere.mp4")


def test_stereo_is_averaged(tmp_path):
    left_only = np.zeros((RATE, 2), "<i2")
    left_only[:, 0] = 16_384
    _write_wav(tmp_path / "left.wav", left_only, RATE)
    assert np.median(read_audio(tmp_path / "left.wav")) == pytest.approx(0.25, abs=0.01)


def test_sound_that_changes_its_rate_midway(tmp_path, tone):
    joined = b""
    for rate in (16_000, 32_000):
        with av.open(str(tmp_path / "piece.aac"), "w", format="adts") as container:
            track = container.add_stream("aac", rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            container.mux([*track.encode(frame), *track.encode(None)])
        joined += (tmp_path / "piece.aac").read_bytes()
    (tmp_path / "joined.aac").write_bytes(joined)
    with pytest.raises(MediaError, match="changes its format"):
        read_audio(tmp_path / "joined.aac")


def test_same_clip_same_bytes(clip, tmp_path, frames, tone):
    write_clip(tmp_path / "again.part", frames, tone, fps=8)
    assert (tmp_path / "again.part").read_bytes() == clip.read_bytes()


def _write_wav(path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def _write_avi(path, frames: np.ndarray) -> None:
    """Frames at 8 a second as the older kind of file: MPEG-4 part 2 in avi, which stores no time stamps."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=8)
        track.height, track.width, track.pix_fmt = *frames.shape[1:3], "yuv420p"
        container.start_encoding()
        for image in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(track.encode(None))


def _copy_tracks(source, target, *kinds: str, options: dict[str, str] | None = None) -> None:
    """Put the tracks (all, or those of the kinds) into another container without encoding them anew."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        tracks = {t.index: new.add_stream_from_template(t) for t in old.streams if not kinds or t.type in kinds}
        for packet in old.demux(*(old.streams[index] for index in tracks)):
            if packet.dts is not None:  # the empty packet at the end of each track
                packet.stream = tracks[packet.stream.index]
                new.mux(packet)


def test_a_track_without_a_decoder_is_told(clip):
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"xxxx"))
    with pytest.raises(MediaError, match="no kind that can be decoded"):
        read_frames(clip, fps=8, size=32)
