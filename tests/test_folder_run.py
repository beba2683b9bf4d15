"""A folder becomes restored pictures, crops and records; a second run goes on where the first stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_fakes import (
    CROP,
    NO_PROCESS,
    RUN,
    FakeRestorer,
    face,
    files_below,
    make_pictures,
    picture,
    read_records,
    run_folder,
)

from fsr.runtime.errors import InputError, UsageError
from fsr.runtime.media import encode
from fsr.runtime.media.images import Picture, read_image, read_picture, write_image, write_picture
from fsr.runtime.pixels import RgbImage
from fsr.runtime.runs.folder import find_pictures, survey
from fsr.runtime.runs.picture_work import PictureWork
from fsr.runtime.runs.records import PIXELS, Record
from fsr.runtime.runs.summary import Summary


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def records(out: Path) -> dict[str, Record]:
    """By picture; each once."""
    lines = read_records(out / "results.jsonl")[1]
    by_name = {line["picture"]: line for line in lines}
    assert len(by_name) == len(lines), "a picture has two lines"
    return by_name


# Results


def test_results_lie_where_they_should(source: Path, out: Path) -> None:
    write_image(source / "a.png", picture(10))
    write_image(source / "Grüße 日本" / "b.jpg", picture(20))
    summary = run_folder(source, out, FakeRestorer(face(), face(restored=False), face()))
    assert files_below(out) == [
        "faces/Grüße 日本/b.jpg.0.png",
        "faces/Grüße 日本/b.jpg.2.png",
        "faces/a.png.0.png",
        "faces/a.png.2.png",
        "restored/Grüße 日本/b.jpg",
        "restored/a.png",
        "results.jsonl",
    ]
    np.testing.assert_array_equal(read_image(out / "restored/a.png"), picture(10, (24, 20)))
    np.testing.assert_array_equal(read_image(out / "faces/a.png.0.png"), CROP)
    assert (summary.done, summary.total, summary.exit_code) == (2, 2, 0)
    assert summary.faces == {"restored by tiny": 4, "left: large enough already": 2}


def test_a_record_says_everything(source: Path, out: Path) -> None:
    write_image(source / "a.png", picture(10))
    run_folder(source, out, FakeRestorer(face(), face(restored=False)))
    header, (record,) = read_records(out / "results.jsonl")
    assert header == RUN
    stat = (source / "a.png").stat()
    milliseconds = record.pop("milliseconds")
    assert list(milliseconds) == ["detect", "paste", "read", "write"] and milliseconds["detect"] == 1.235
    assert milliseconds["read"] > 0 and milliseconds["write"] > 0
    common = {"box_xyxy": [1, 2, 9, 10], "landmarks": [[1, 1]] * 5, "score": 0.9}
    assert record == {
        "picture": "a.png",
        "size_wh": [12, 10],
        "frames": 1,
        "output": "restored/a.png",
        "compare": None,
        "faces": [
            {**common, "native_size": 20, "decision": "restored", "model": "tiny", "crop": "faces/a.png.0.png"},
            {**common, "native_size": 90, "decision": "left: large enough already", "model": None, "crop": None},
        ],
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
    }


def test_format_alpha_grey_and_metadata_are_kept(source: Path, out: Path) -> None:
    alpha = np.full((10, 12), 77, np.uint8)
    exif = Image.Exif()
    exif[0x0131] = "camera"
    write_picture(source / "alpha.png", Picture(picture(9), alpha, exif=exif.tobytes(), icc=b"profile"))
    write_picture(source / "grey.jpg", Picture(picture(9), grey=True, dpi=(300, 300)))
    write_picture(source / "page.tif", Picture(picture(9)))
    run_folder(source, out, compare=True)
    kept = read_picture(out / "restored/alpha.png")
    assert kept.alpha is not None and kept.alpha.shape == (20, 24) and (kept.alpha == 77).all()
    assert (kept.icc, kept.exif) == (b"profile", read_picture(source / "alpha.png").exif)
    grey = read_picture(out / "restored/grey.jpg")
    assert grey.grey and grey.dpi == (300, 300)
    for name, kind in {"alpha.png": "PNG", "grey.jpg": "JPEG", "page.tif": "TIFF"}.items():
        with Image.open(out / "restored" / name) as image:
            assert image.format == kind
    crop = read_picture(out / "faces/alpha.png.0.png")
    assert (crop.alpha, crop.exif, crop.icc) == (None, None, b"profile"), "colours need the profile, nothing the rest"


def test_compare_is_bicubic_beside_restored(source: Path, out: Path) -> None:
    write_image(source / "a.png", picture(50, (120, 90)))
    write_image(source / "b.jpg", picture(50, (120, 90)))

    class Whitener(FakeRestorer):
        def __call__(self, frame: RgbImage):
            made = super().__call__(frame)
            made.image[:] = 255
            return made

    run_folder(source, out, Whitener(), compare=True)
    both = read_image(out / "compare/a.png.png")
    bar = both.shape[0] - 180
    assert both.shape[1] == 480 and 16 <= bar <= 40
    np.testing.assert_array_equal(both[bar:], np.hstack([picture(50, (240, 180)), picture(255, (240, 180))]))
    for half in (both[:bar, :240], both[:bar, 240:]):
        assert half.max() > 200 and half.min() == 0, "a name in white on black"
    assert (both[:bar, :240] != both[:bar, 240:]).any(), "two names"
    assert records(out)["b.jpg"]["compare"] == "compare/b.jpg.jpg"
    assert (out / "compare/b.jpg.jpg").is_file()


def test_a_comparison_that_is_too_wide_for_its_format_costs_no_result(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(source / "a.jpg", picture(50, (120, 90)))
    monkeypatch.setitem(encode._LONGEST_SIDE, "JPEG", 300)
    summary = run_folder(source, out, compare=True)
    assert read_image(out / "restored/a.jpg").shape == (180, 240, 3)
    reason = summary.failed["a.jpg"]
    assert "compare/a.jpg.jpg" in reason and "480" in reason and reason.endswith("; restored/a.jpg is there")


def test_pictures_of_several_pages_are_counted(source: Path, out: Path) -> None:
    source.mkdir()
    pages = [Image.fromarray(picture(value)) for value in (1, 2, 3)]
    pages[0].save(source / "scan.tif", save_all=True, append_images=pages[1:])
    summary = run_folder(source, out)
    assert records(out)["scan.tif"]["frames"] == 3
    assert summary.first_only == 1 and "of 1 with several pages or frames only the first" in summary.sentence()


def test_memory_is_bounded_by_the_workers(source: Path, out: Path) -> None:
    """No more pictures are held than are worked on."""
    make_pictures(source, 40)
    held, most = set(), 0

    class Watched(FakeRestorer):
        def __call__(self, frame: RgbImage):
            nonlocal most
            import weakref

            made = super().__call__(frame)
            held.add(key := int(frame[0, 0, 0]))
            weakref.finalize(made.image, held.discard, key)
            most = max(most, len(held))
            return made

    run_folder(source, out, Watched(face()), workers=3)
    assert most <= 6, "restored pictures are kept after they were written"


# What is taken as input


def test_what_a_run_wrote_below_the_input_is_no_input(source: Path) -> None:
    make_pictures(source, 2)
    out = source / "sub" / "out"
    for _ in range(2):
        assert run_folder(source, out, compare=True).total == 2
    assert [path.name for path in find_pictures(source, out)] == ["00.png", "01.png"]
    assert len(find_pictures(source, source.parent)) == 2 * 4, "an output around the input hides nothing of it"


def test_one_picture_can_be_given(source: Path, out: Path) -> None:
    make_pictures(source, 2)
    assert find_pictures(source / "01.png", out) == [source / "01.png"]
    (source / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt: got suffix '\.txt', expected one of \.bmp"):
        find_pictures(source / "notes.txt", out)


def test_results_never_mix_with_the_input(source: Path, out: Path) -> None:
    make_pictures(source, 1)
    with pytest.raises(UsageError, match="got the input itself"):
        find_pictures(source, source)
    run_folder(source, out)
    with pytest.raises(UsageError, match="choose another --output"):
        find_pictures(out / "restored", out)
    with pytest.raises(UsageError, match="choose another --output"):
        find_pictures(out / "restored" / "00.png", out)


def test_what_is_left_out_of_a_folder_is_said(source: Path, out: Path) -> None:
    make_pictures(source, 1)
    for name in ("a.gif", "b.GIF", "sub/c.heic", "film.mp4", "notes.txt", ".hidden.gif", "out/d.gif"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).touch()
    summary = run_folder(source, source / "out")
    assert summary.left_out == {".gif": 2, ".heic": 1, ".mp4": 1} == summary.to_json()["left_out"]
    assert "left out 2 .gif, 1 .heic, kinds that are not read;" in summary.sentence()
    assert "left out 1 .mp4 beside the pictures: give a video by itself, or a folder of videos" in summary.sentence()
    assert summary.exit_code == 0
    (source / "00.png").unlink()
    with pytest.raises(InputError, match=r"holds videos and no picture; .* --input .*film\.mp4"):
        find_pictures(source, source / "out")
    (source / "film.mp4").unlink()
    with pytest.raises(InputError, match=r"no picture in it but 2 \.gif, 1 \.heic; expected files ending in"):
        find_pictures(source, source / "out")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_links_and_pipes_are_never_passed_over_in_silence(source: Path, out: Path) -> None:
    make_pictures(source, 1)
    (source / "lost.png").symlink_to("gone.png")
    (source / "sub").symlink_to(out.parent)
    (source / "out").symlink_to(out)
    os.mkfifo(source / "pipe.jpg")
    summary = run_folder(source, out)
    assert (summary.done, summary.exit_code) == (1, 1)
    assert list(summary.failed) == ["lost.png"] and "No such file" in summary.failed["lost.png"]
    what = {"pipe.jpg": "pipe, socket or device", "sub": "link to a folder"}
    assert summary.no_files == what == summary.to_json()["no_files"], "all but the output itself"
    assert "left out pipe.jpg (pipe, socket or device), sub (link to a folder)" in summary.sentence()
    for name in ("00.png", "lost.png"):
        (source / name).unlink()
    with pytest.raises(InputError, match=r"no picture in it but pipe\.jpg \(pipe, .*\), sub \(link to a folder\); exp"):
        find_pictures(source, out)
    (source / "film.mp4").symlink_to("gone.mp4")
    assert survey(source, out).no_files == what, "of a folder of videos too"


def test_many_links_are_counted() -> None:
    summary = Summary("picture", None, None, no_files={f"{n:02}": "link to a folder" for n in range(12)})
    assert "09 (link to a folder) and 2 more of this sort" in summary.sentence() and "10 (" not in summary.sentence()


def test_a_folder_with_nothing_but_results_says_so(source: Path) -> None:
    make_pictures(source, 1)
    run_folder(source, source / "out")
    (source / "00.png").unlink()
    with pytest.raises(InputError, match="no picture in it but those that a run wrote into"):
        find_pictures(source, source / "out")


def test_results_of_earlier_runs_that_stay_are_counted(source: Path, out: Path) -> None:
    first, *_ = make_pictures(source, 3)
    assert run_folder(source, out, compare=True).stale == 0
    assert run_folder(source, out, compare=True).stale == 0, "all were written anew"
    assert run_folder(source, out).stale == 3, "the comparisons"
    first.unlink()
    summary = run_folder(source, out, FakeRestorer())
    assert summary.stale == 3 + 2 + 2 == summary.to_json()["stale"], "two of the picture that is gone, two faces"
    assert f"7 files of earlier runs stay in {out}" in summary.sentence()
    assert "earlier" not in run_folder(source, out.with_name("other")).sentence()


def test_what_is_resumed_is_not_called_earlier(source: Path, out: Path) -> None:
    make_pictures(source, 3)
    run_folder(source, out, compare=True)
    assert run_folder(source, out, compare=True, resume=True).stale == 0


# Resuming


def count_calls(source: Path, out: Path, **options: object) -> tuple[list[int], object]:
    """Run with --resume; the numbers of the pictures that were restored."""
    seen: list[int] = []
    summary = run_folder(
        source, out, FakeRestorer(face(), before=lambda f: seen.append(int(f[0, 0, 0]))), resume=True, **options
    )
    return sorted(seen), summary


def test_what_is_done_is_not_done_again(source: Path, out: Path) -> None:
    make_pictures(source, 4)
    seen, _ = count_calls(source, out)
    assert seen == [0, 1, 2, 3], "nothing to resume: everything is done"
    write_image(source / "04.png", picture(4))
    seen, summary = count_calls(source, out)
    assert seen == [4] and (summary.done, summary.skipped, summary.total) == (1, 4, 5)  # type: ignore[attr-defined]
    assert sorted(records(out)) == [f"{n:02}.png" for n in range(5)]


def test_what_changed_is_done_again(source: Path, out: Path) -> None:
    paths = make_pictures(source, 6)
    count_calls(source, out)
    later = paths[1].stat().st_mtime_ns + 1
    os.utime(paths[1], ns=(later, later))
    with paths[2].open("ab") as file:
        file.write(b"x")
    (out / "restored/03.png").unlink()
    paths[4].unlink()  # its result stays
    assert count_calls(source, out)[0] == [1, 2, 3]
    assert len(records(out)) == 6
    assert count_calls(source, out)[0] == []


def test_what_failed_is_tried_again(source: Path, out: Path) -> None:
    make_pictures(source, 2)
    (source / "bad.png").write_bytes(b"half")
    assert count_calls(source, out)[1].exit_code == 1  # type: ignore[attr-defined]
    write_image(source / "bad.png", picture(9))
    seen, summary = count_calls(source, out)
    assert seen == [9] and summary.exit_code == 0  # type: ignore[attr-defined]
    assert "error" not in records(out)["bad.png"]


def test_a_comparison_that_was_not_made_is(source: Path, out: Path) -> None:
    make_pictures(source, 2)
    count_calls(source, out)
    assert count_calls(source, out, compare=True)[0] == [0, 1]
    assert count_calls(source, out, compare=True)[0] == []
    assert count_calls(source, out)[0] == []


def test_other_options_are_refused_before_anything_changes(source: Path, out: Path) -> None:
    make_pictures(source, 1)
    run_folder(source, out)
    before = (out / "results.jsonl").read_bytes()
    with pytest.raises(UsageError, match="begun with --scale 2, this run has 3"):
        run_folder(source, out, run={PIXELS: {"--scale": 3}}, resume=True)
    assert (out / "results.jsonl").read_bytes() == before


def test_without_resume_everything_is_done_anew(source: Path, out: Path) -> None:
    make_pictures(source, 2)
    run_folder(source, out)
    summary = run_folder(source, out, run={PIXELS: {"--scale": 3}})
    assert (summary.done, summary.skipped) == (2, 0)
    assert read_records(out / "results.jsonl")[0] == {PIXELS: {"--scale": 3}}


def test_only_temporaries_of_a_run_that_is_over_are_removed(source: Path, out: Path, sleeper: int) -> None:
    make_pictures(source, 1)
    leftover = [
        out / f"restored/sub/.a.{NO_PROCESS}.partial.png",
        out / f"faces/.b.{NO_PROCESS}.partial.jpg",
        out / f".results.{NO_PROCESS}.partial.jsonl",
    ]
    mine = [out / ".hidden", out / "restored/.partial.png", out / f"notes/.c.{NO_PROCESS}.partial.png"]
    others = [
        out / f"restored/.film.{NO_PROCESS}.partial.mp4",
        out / f".film.frames.{NO_PROCESS}.partial.jsonl",
        out / f"faces/film/000001/.00000001.{sleeper}.partial.png",
    ]
    for path in [*leftover, *mine, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (out / f".my_bundle.{NO_PROCESS}.partial").mkdir()
    summary = run_folder(source, out)
    assert not any(path.exists() for path in leftover) and summary.stale == 1
    assert all(path.exists() for path in [*mine, *others])


def test_each_line_is_written_after_its_files(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(source, 5)
    from fsr.runtime.runs.records import Records

    add = Records.add

    def checked(self: Records, record: Record) -> None:
        assert (out / record["output"]).is_file() and (out / record["faces"][0]["crop"]).is_file()
        add(self, record)

    monkeypatch.setattr(Records, "add", checked)
    assert run_folder(source, out, compare=True).done == 5


def test_the_work_says_what_is_done(source: Path, out: Path) -> None:
    path = make_pictures(source, 1)[0]
    work = PictureWork(FakeRestorer(face()), source, out)
    record = work(path)
    assert json.loads(json.dumps(record)) == record
    assert work.is_done(record)
    assert not work.is_done({**record, "bytes": 1})
    assert not work.is_done({"picture": "00.png", "error": "x"})
