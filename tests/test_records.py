"""A record file tells the truth at every moment, and a later run takes from it what still holds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_fakes import read_records

from fsr.runtime.align import RestoredFace
from fsr.runtime.detect import Face
from fsr.runtime.errors import InputError, OutputError, UsageError
from fsr.runtime.runs.records import PIXELS, Records, face_record, resumable

RUN: dict[str, Any] = {"version": "1", PIXELS: {"--scale": 2, "--max-faces": None}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "results.jsonl"


def test_the_header_and_each_record_are_a_line(path: Path) -> None:
    with Records(path, RUN) as records:
        records.add({"picture": "a.png"})
        records.add({"picture": "b.png"})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"run": RUN},
        {"picture": "a.png"},
        {"picture": "b.png"},
    ]
    assert read_records(path) == (RUN, [{"picture": "a.png"}, {"picture": "b.png"}])


@pytest.mark.parametrize("sync", [True, False])
def test_a_record_can_be_read_as_soon_as_it_was_added(path: Path, sync: bool) -> None:
    with Records(path, RUN, sync=sync) as records:
        for number in range(3):
            records.add({"picture": str(number)})
            assert len(read_records(path)[1]) == number + 1


def test_each_record_reaches_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with Records(path, RUN) as records:
        records.add({"picture": "a"})
        records.add({"picture": "b"})
    assert len(synced) == 2


def test_names_that_are_not_text_survive(path: Path) -> None:
    names = ["Grüße/日本.png", os.fsdecode(b"\xff\xfe.png"), "two\nlines\u2028.png", '"quoted".png']
    with Records(path, RUN) as records:
        for name in names:
            records.add({"picture": name})
    assert [record["picture"] for record in read_records(path)[1]] == names


def test_starting_anew_forgets_and_keeping_keeps(path: Path) -> None:
    with Records(path, RUN) as records:
        records.add({"picture": "old"})
    with Records(path, RUN, [{"picture": "kept"}]) as records:
        records.add({"picture": "new"})
    assert [record["picture"] for record in read_records(path)[1]] == ["kept", "new"]
    assert [p.name for p in path.parent.iterdir()] == ["results.jsonl"]


@pytest.mark.parametrize("torn", [b'{"picture": "c', b"{", b'{"picture": "c"}', "{'ü".encode()[:-1]])
def test_a_torn_last_line_is_dropped(path: Path, torn: bytes) -> None:
    """Even one that is whole but for its end: the next line would be glued to it."""
    with Records(path, RUN) as records:
        records.add({"picture": "a"})
    path.write_bytes(path.read_bytes() + torn)
    assert read_records(path) == (RUN, [{"picture": "a"}])


@pytest.mark.parametrize("content", [b"", b'{"run": {"vers'])
def test_a_file_without_a_whole_line_is_no_run(path: Path, content: bytes) -> None:
    assert read_records(path) == ({}, [])
    path.parent.mkdir()
    path.write_bytes(content)
    assert read_records(path) == ({}, [])


@pytest.mark.parametrize("content", [b"no json\n{}\n", b'{"picture": "a"}\n', b"[]\n", b"3\n", b"\xff\n"])
def test_another_file_is_refused_in_a_sentence(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"results\.jsonl: not the record of a run .*without --resume"):
        read_records(path)


def test_what_is_done_is_kept(path: Path) -> None:
    with Records(path, RUN) as records:
        records.add({"picture": "a"})
        records.add({"picture": "b", "error": "torn"})
    assert resumable(path, RUN, lambda record: "error" not in record) == [{"picture": "a"}]
    assert resumable(path.with_name("none"), RUN, lambda _: True) == []


@pytest.mark.parametrize(("option", "value"), [("--scale", 3), ("--max-faces", 1), ("--new", "x")])
def test_other_options_are_refused_with_both_values(path: Path, option: str, value: object) -> None:
    Records(path, RUN).__exit__(None, None, None)
    other = {**RUN, PIXELS: {**RUN[PIXELS], option: value}}
    with pytest.raises(UsageError, match=rf"{option} {RUN[PIXELS].get(option)}, this run has {value}"):
        resumable(path, other, lambda _: True)


def test_what_does_not_shape_pixels_may_differ(path: Path) -> None:
    Records(path, RUN).__exit__(None, None, None)
    assert resumable(path, {**RUN, "version": "2"}, lambda _: True) == []


def test_a_full_disk_is_a_sentence(path: Path) -> None:
    with Records(path, RUN) as records, Path("/dev/full").open("ab", buffering=0) as full:
        mine, records._file = records._file, full
        with pytest.raises(OutputError, match=r"results\.jsonl: cannot be written: No space left on device"):
            records.add({"picture": "a"})
        mine.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps what is open")
@pytest.mark.parametrize(
    "lose", [Path.unlink, lambda path: path.rename(path.with_name("moved"))], ids=["gone", "moved"]
)
def test_a_record_file_that_is_lost_takes_no_more_lines(path: Path, lose: Callable[[Path], object]) -> None:
    with Records(path, RUN) as records:
        records.add({"picture": "a"})
        lose(path)
        with pytest.raises(OutputError, match=r"results\.jsonl: cannot be written: it was deleted or moved while"):
            records.add({"picture": "b"})


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        Records(tmp_path / "file" / "results.jsonl", RUN)


def test_a_face_is_plain_json() -> None:
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2) + np.float32(0.25)
    face = Face(np.array([1, 2, 30.126, 40], np.float32), landmarks, 0.98766)
    record = face_record(RestoredFace(face, 29.126, "restored", "edge-L-32x4"), "faces/a.png.0.png")
    assert json.loads(json.dumps(record)) == {
        "box_xyxy": [1, 2, 30.13, 40],
        "landmarks": [[x + 0.25, x + 1.25] for x in range(0, 10, 2)],
        "score": 0.9877,
        "native_size": 29.13,
        "decision": "restored",
        "model": "edge-L-32x4",
        "crop": "faces/a.png.0.png",
    }


@pytest.mark.parametrize(("decision", "opacity"), [("restored", 0.4), ("left: large enough already", 0.0)])
def test_of_a_tracked_face_that_is_left_nothing_is_shown(decision: str, opacity: float) -> None:
    face = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9)
    record = face_record(RestoredFace(face, 30.0, decision, track=7, opacity=0.4))
    assert (record["track"], record["opacity"]) == (7, opacity)
