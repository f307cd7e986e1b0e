import wave

import av
import numpy as np
import pytest
from av.stream import Disposition

from meiju.features import tracks
from meiju.features.media import MediaError, read_seconds, write_clip
from meiju.features.tracks import Clock
from toy_clips import damage_packet
from whole_clips import read_audio, read_frames, read_whole_frames

RATE = 16_000
NOISE = np.random.default_rng(0).integers(0, 256, (16, 48, 64, 3), dtype=np.uint8)  # frames that take space


@pytest.fixture
def frames() -> np.ndarray:
    """Two seconds at 8 frames a second; frame k is plain grey of level 10 k."""
    return np.stack([np.full((48, 64, 3), 10 * k, np.uint8) for k in range(16)])


@pytest.fixture
def tone() -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)


@pytest.fixture
def clip(tmp_path, frames, tone):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames, tone, fps=8)
    return path


READ = {"video": lambda path: read_frames(path, fps=8, size=32), "audio": read_audio}


def test_sound_comes_back_in_time(clip, tone):
    read = read_audio(clip)
    assert read.dtype == np.float32
    assert 0 <= len(read) - len(tone) < 1024  # the encoder fills its last block up
    inner = slice(1000, 31_000)  # the coder rings where the tone starts and stops
    assert np.abs(read[: len(tone)] - tone)[inner].max() < 0.1


# At 3 a second the intervals begin at 0, 1/3, 2/3 s, ...; the first frames in them are those at 0, 3/8, 6/8 s, ...
@pytest.mark.parametrize(
    ("fps", "numbers"), [(1, [0, 8]), (4, [*range(0, 16, 2)]), (3, [0, 3, 6, 8, 11, 14]), (100, [*range(16)])]
)
def test_first_frame_of_each_interval_is_kept_and_none_invented(clip, fps, numbers):
    read = read_frames(clip, fps=fps, size=32)
    assert (read.shape, read.dtype) == ((len(numbers), 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(np.round(read.mean((1, 2, 3)) / 10), numbers)


def test_frames_are_cut_to_the_centre_square(tmp_path):
    wide = np.zeros((2, 32, 96, 3), np.uint8)
    wide[:, :, 32:64] = 200
    write_clip(tmp_path / "wide.mp4", wide, None, fps=8)
    square = read_frames(tmp_path / "wide.mp4", fps=8, size=64)[:, :, 4:-4]  # the edges blend
    assert square.min() > 180


def test_seconds_are_those_that_are_played(clip, tmp_path, frames, tone):
    assert read_seconds(clip) == pytest.approx(2, abs=0.1)
    for seconds, of_clip in ((1, (None, tone[:RATE])), (0.5, (frames[:4], None))):
        write_clip(tmp_path / "one.mp4", *of_clip, fps=8)
        assert read_seconds(tmp_path / "one.mp4") == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 2), (16_000, 3), (44_100, 9)])  # those without a place as well
def test_wav_is_resampled_and_channels_are_averaged(tmp_path, rate, channels):
    levels = np.zeros((rate, channels), "<i2")
    levels[:, 0] = 3000 * channels
    with wave.open(str(tmp_path / "level.wav"), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(levels.tobytes())
    sound = read_audio(tmp_path / "level.wav")
    assert abs(len(sound) - RATE) <= 2
    assert np.median(sound) == pytest.approx(levels[0, 0] / channels / 32768, rel=0.01)


@pytest.mark.parametrize(("kind", "missing"), [("video", "audio"), ("audio", "video")])
def test_missing_track_or_file(tmp_path, frames, tone, kind, missing):
    path = tmp_path / "half.mp4"
    with pytest.raises(FileNotFoundError):
        READ[kind](path)
    write_clip(path, frames if kind == "video" else None, tone if kind == "audio" else None, fps=8)
    assert len(READ[kind](path))
    with pytest.raises(MediaError, match=f"no {missing} track"):
        READ[missing](path)


@pytest.mark.parametrize("change", [lambda _: b"", lambda _: b"text\n" * 50, lambda data: data[: len(data) // 2]])
def test_what_is_no_media_file_or_lacks_its_index(clip, capfd, change):
    clip.write_bytes(change(clip.read_bytes()))
    with pytest.raises(MediaError, match="not decodable"):
        read_audio(clip)
    assert capfd.readouterr().err == ""  # libav keeps its own complaints to itself


@pytest.mark.parametrize(("kept", "lost"), [(0.9, "damaged: 12 % of the video track is lost"), (0.5, None)])
def test_of_a_cut_file_what_is_left_is_kept_unless_most_is_gone(tmp_path, capfd, kept, lost):
    write_clip(tmp_path / "clip.mp4", NOISE, None, fps=8)
    path, notes = tmp_path / "index_first.mp4", []
    _copy_tracks(tmp_path / "clip.mp4", path, options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: round(kept * path.stat().st_size)])
    if lost:
        assert len(read_frames(path, fps=8, size=32, notes=notes)) == 14
        assert notes == [lost]
    else:
        with pytest.raises(MediaError, match="most of the video track is damaged: 9 of 16 packets"):
            read_frames(path, fps=8, size=32)
    assert capfd.readouterr().err == ""


def test_sound_that_changes_its_format_midway_is_kept(tmp_path, tone):
    joined, notes = tmp_path / "joined.aac", []
    for rate, layout in ((16_000, "mono"), (32_000, "mono"), (32_000, "stereo")):
        with joined.open("ab") as file, av.open(file, "w", format="adts") as container:
            track = container.add_stream("aac", rate=rate, layout=layout)
            _encode_sound(container, track, np.repeat(tone[None, :rate], 2 if layout == "stereo" else 1, axis=0))
    assert len(read_audio(joined, notes=notes)) == pytest.approx(3 * RATE, abs=4096)
    assert notes == ["the sound changes its format midway"]


def test_damaged_packets_are_left_out_and_noted(clip, tone):
    write_clip(clip, NOISE, tone, fps=8)
    damage_packet(clip, "video", 8)
    damage_packet(clip, "audio", 8)
    notes = []
    assert len(read_frames(clip, fps=8, size=32, notes=notes)) >= 14
    assert len(tone) * 0.9 < len(read_audio(clip, notes=notes)) < len(tone) + 1024
    assert [note.split(" % ")[1] for note in notes] == ["of the video track is lost", "of the audio track is lost"]
    assert read_seconds(clip) == pytest.approx(2, abs=0.1)


def test_sound_that_is_not_finite_is_refused(tmp_path, tone):
    tone[100:103] = np.nan
    with av.open(str(tmp_path / "odd.wav"), "w") as container:
        track = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
        _encode_sound(container, track, tone[None], format="flt")
    with pytest.raises(MediaError, match="not finite: 3 of 32000 samples"):
        read_audio(tmp_path / "odd.wav")


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_turned_pictures_are_decoded_upright(tmp_path, degrees, flip):
    corner = np.full((48, 64, 3), 20, np.uint8)
    corner[:16, :16] = 220  # light above on the left
    stored = np.rot90(corner[:, ::-1] if flip else corner, -degrees // 90)  # turning it back, then flipping, shows it
    _write_video(tmp_path / "turned.mkv", stored, rotation=(degrees, flip))
    (shown,) = read_whole_frames(tmp_path / "turned.mkv", fps=8, shorter=48)
    np.testing.assert_allclose(shown, corner, atol=3)


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (64, 64, 3))
    for stored, aspect in ((ramp[:, ::2], "2:1"), (ramp[::2], "1:2")):
        _write_video(tmp_path / "squeezed.mkv", stored, aspect=aspect)
        (shown,) = read_whole_frames(tmp_path / "squeezed.mkv", fps=8, shorter=64)
        np.testing.assert_allclose(shown.astype(int), ramp, atol=6)


@pytest.mark.parametrize(("default", "level"), [(1, 150), (None, 50)])
def test_the_default_track_is_read(tmp_path, default, level):
    two = (np.full((32, 32, 3), level, np.uint8) for level in (50, 150))
    _write_video(tmp_path / "two.mkv", *two, default=default)
    assert read_frames(tmp_path / "two.mkv", fps=8, size=32).mean() == pytest.approx(level, abs=3)


def test_cover_art_is_no_film(tmp_path, tone):
    with av.open(str(tmp_path / "song.mp3"), "w") as container:
        sound, cover = container.add_stream("mp3", rate=RATE, layout="mono"), container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux([*cover.encode(picture.reformat(format="yuvj420p")), *cover.encode(None)])
        _encode_sound(container, sound, tone[None])
    with pytest.raises(MediaError, match="no video track"):
        read_frames(tmp_path / "song.mp3", fps=8, size=32)
    assert len(read_audio(tmp_path / "song.mp3")) >= len(tone)
    assert read_seconds(tmp_path / "song.mp3") == pytest.approx(2, abs=0.2)


def test_time_stamps_that_start_again_midway(tmp_path, frames):
    write_clip(tmp_path / "once.mp4", frames, None, fps=8)
    _copy_tracks(tmp_path / "once.mp4", tmp_path / "once.ts")
    (tmp_path / "twice.ts").write_bytes(2 * (tmp_path / "once.ts").read_bytes())
    levels = read_frames(tmp_path / "twice.ts", fps=4, size=32).mean((1, 2, 3))
    np.testing.assert_allclose(levels, np.tile(frames[::2].mean((1, 2, 3)), 2), atol=4)
    assert read_seconds(tmp_path / "twice.ts") == pytest.approx(4, abs=0.2)
    clock = Clock(1.0)
    assert [clock.read(stamp, step=1) for stamp in (0, 1, 1e6, 3, 2.9, 60)] == [0, 1, 2, 3, 2.9, 60]  # one is damaged


def test_a_playlist_is_not_opened(clip):
    playlist = clip.with_name("list.mp4")
    playlist.write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    with av.open(str(playlist)) as container:  # libav alone would
        assert container.format.name == "concat"
    for attempt in (read_seconds, read_audio):
        with pytest.raises(MediaError, match="neither film nor sound"):
            attempt(playlist)


def test_pictures_that_are_too_large_are_refused(clip, monkeypatch):
    monkeypatch.setattr(tracks, "MAX_PIXELS", 48 * 64)
    assert len(read_frames(clip, fps=8, size=32)) == 16
    monkeypatch.setattr(tracks, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(MediaError, match="have more than 3071 pixels"):
        read_frames(clip, fps=8, size=32)
    assert len(read_audio(clip))


def _encode_sound(container, track, samples: np.ndarray, format: str = "fltp") -> None:
    """Samples [channels, N] as all that a track holds."""
    frame = av.AudioFrame.from_ndarray(samples, format=format, layout=track.layout.name)
    frame.sample_rate = track.rate
    container.mux([*track.encode(frame), *track.encode(None)])


def _write_video(path, *pictures, rotation=None, aspect="1:1", default=None) -> None:
    """A track of each picture [height, width, 3], without loss.

    rotation: degrees counter-clockwise, and whether to flip sideways after that, which a player has to do; aspect: of a
    pixel; default: the number of the default track.
    """
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=8, options={"qp": "0", "aspect": aspect}) for _ in pictures]
        for number, (stream, picture) in enumerate(zip(streams, pictures, strict=True)):
            stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv444p"
            stream.disposition = Disposition.default if number == default else 0
            if rotation:
                stream.set_display_rotation(rotation[0], hflip=rotation[1])
        for stream, picture in zip(streams, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux([*stream.encode(frame), *stream.encode(None)])


def _copy_tracks(source, target, **options) -> None:
    """Put the tracks into another container without encoding them anew."""
    with av.open(str(source)) as old, av.open(str(target), "w", **options) as new:
        tracks = {t.index: new.add_stream_from_template(t) for t in old.streams}
        for packet in old.demux():
            if packet.dts is not None:  # the empty packet at the end of each track
                packet.stream = tracks[packet.stream.index]
                new.mux(packet)
