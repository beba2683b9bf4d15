"""Under its final name a file is whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
from run_fakes import NO_PROCESS

from fsr.runtime import files
from fsr.runtime.alive import is_alive
from fsr.runtime.errors import OutputError
from fsr.runtime.files import (
    atomic_path,
    is_being_written,
    new_folder,
    remove_temporaries,
    temporaries_of,
    write_bytes,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_and_text_arrive_under_their_name_alone(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"\x00\xff")
    write_text(tmp_path / "new" / "folders" / "b.txt", "Grüße\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "new" / "folders" / "b.txt").read_bytes() == "Grüße\n".encode()
    assert names(tmp_path) == ["a.bin", "new"]
    assert names(tmp_path / "new" / "folders") == ["b.txt"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"a long old file")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_the_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "movie.tar.mp4"
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent  # so that the renaming stays on one disk
        assert temporary.suffix == ".mp4"  # writers choose the format by it
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"half")
        assert not final.exists()
    assert final.read_bytes() == b"half"


@pytest.mark.parametrize("error", [ValueError("from the body"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_is_passed_on(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert caught.value is error
    assert names(tmp_path) == []


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(ValueError, match="from the body"), atomic_path(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"half")
        raise ValueError("from the body")
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with (
        pytest.raises(OutputError, match=r"a\.png: cannot be written: No space left on device; nothing was left"),
        atomic_path(tmp_path / "a.png") as temporary,
    ):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk that is always full, is Linux's")
def test_a_device_that_is_full_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), atomic_path(tmp_path / "a") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x")
    assert names(tmp_path) == []


def test_a_read_only_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("write_bytes", "unlink"):  # such a disk refuses to delete even what is not there
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(OutputError, match="Read-only file system"):
        write_bytes(tmp_path / "a", b"x")


def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("permissions do not bind this user")
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_bytes(tmp_path / "a", b"x")
    tmp_path.chmod(0o700)


def test_a_folder_in_the_way_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "a.png" / "kept").touch()
    with pytest.raises(OutputError, match=r"a\.png: cannot be written"):
        write_bytes(tmp_path / "a.png", b"x")
    assert names(tmp_path) == ["a.png"]
    assert names(tmp_path / "a.png") == ["kept"]


@pytest.mark.parametrize("below", ["a.png", "deeper/a.png"])
def test_a_file_where_a_folder_should_be_stays(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OutputError, match=r"a\.png: cannot be written"):
        write_bytes(tmp_path / "file" / below, b"x")
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("letter", ["x", "名"])
def test_the_longest_name_that_the_disk_takes_can_be_written(tmp_path: Path, letter: str) -> None:
    name = f"{letter * (251 // len(letter.encode()))}.png"
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.suffix == ".png" and len(os.fsencode(temporary.name)) <= 143  # all that some disks take
        temporary.write_bytes(b"x")
    assert names(tmp_path) == [name]


def test_long_names_that_begin_alike_have_temporary_names_of_their_own(tmp_path: Path) -> None:
    one, other = (tmp_path / f"{'x' * 200}{end}.png" for end in "ab")
    with atomic_path(one) as first, atomic_path(other) as second:
        assert first != second
        first.write_bytes(b"a")
        second.write_bytes(b"b")
    assert (one.read_bytes(), other.read_bytes()) == (b"a", b"b")


def test_a_name_too_long_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"x\.png: cannot be written: File name too long"):
        write_bytes(tmp_path / f"{'x' * 252}.png", b"x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("stem", ["a[1]*", "a", "x" * 200])
def test_temporaries_of_a_file_are_found_and_removed(tmp_path: Path, stem: str) -> None:
    final, others = tmp_path / f"{stem}.mp4", [".ab.5.partial.mp4", ".a.partial.mp4", "a.5.partial.mp4"]
    others.append(".a.compare.5.partial.mp4")  # of a.compare.mp4
    for name in others:
        (tmp_path / name).touch()
    with pytest.raises(KeyboardInterrupt), atomic_path(final) as temporary:
        left = temporary.with_name(temporary.name.replace(str(os.getpid()), str(NO_PROCESS)))
        left.touch()
        assert list(temporaries_of(final)) == [left]
        raise KeyboardInterrupt
    remove_temporaries(temporaries_of(final))
    assert names(tmp_path) == sorted(others)


def test_what_a_living_process_writes_and_folders_stay(tmp_path: Path, sleeper: int) -> None:
    mine, dead, living, folder = (
        tmp_path / f".a.{number}.partial{suffix}"
        for number, suffix in ((os.getpid(), ".mp4"), (NO_PROCESS, ".mp4"), (sleeper, ".mp4"), (NO_PROCESS, ""))
    )
    for path in (mine, dead, living):
        path.touch()
    folder.mkdir()
    assert [is_being_written(path) for path in (mine, dead, living, folder)] == [False, False, True, False]
    remove_temporaries(tmp_path.iterdir())
    assert names(tmp_path) == sorted([living.name, folder.name])


def test_a_new_folder_removes_what_killed_processes_left_of_it(tmp_path: Path, sleeper: int) -> None:
    final = tmp_path / "set.v1"
    left, mine, living, other, of_other = (
        tmp_path / name
        for name in (
            f".set.{NO_PROCESS}.partial.v1",
            f".set.{os.getpid()}.partial.v1",  # of an earlier process, as in a container
            f".set.{sleeper}.partial.v1",
            f".set.{NO_PROCESS}.partial",
            f".set.v1.{NO_PROCESS}.partial.v1",
        )
    )
    for folder in (left, mine, living, other, of_other):
        (folder / "below").mkdir(parents=True)
        (folder / "below" / "a.bin").write_bytes(b"half")
    with new_folder(final) as temporary:
        assert temporary == mine
        (temporary / "a.bin").write_bytes(b"whole")
    assert names(tmp_path) == sorted(path.name for path in (final, living, other, of_other))
    assert names(final) == ["a.bin"]


def test_whether_a_process_lives(sleeper: int) -> None:
    alive = [is_alive(number) for number in (os.getpid(), sleeper, NO_PROCESS, 0, -1, 10**30)]
    assert alive == [True, True, False, False, False, False]


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), atomic_path(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_permissions_follow_the_umask_even_after_a_private_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.umask(files.UMASK) == files.UMASK
    monkeypatch.setattr(files, "UMASK", 0o031)  # a mask that no machine has by default
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch(mode=0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~0o031
