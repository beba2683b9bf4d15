"""Minutes on end: python tests/soak.py --minutes 10 [live] [film]

live: the test scene at the pace of a camera into a file; film: a video with sound. Both 1280x720, 30 frames a second, 4
faces, tier S. Tells whether memory stays flat, frames are dropped, and sound and pictures stay together; ends with exit
code 1 where they do not. The machine should have nothing else to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from fsr.runtime.bench.memory import resident_megabytes
from fsr.runtime.media.test_scene import TestScene

SIZE_WH, FACES = (1280, 720), 4
SCENE_SECONDS = 10
"""Of the scene that a film repeats."""
SOUND_RATE = 48_000
EVERY = 5.0
"""Seconds from one look at the memory to the next."""
GROWTH, DRIFT = 0.03, 0.020
"""Of memory after that, at most, as a share; of sound from pictures, in seconds."""


@dataclass(frozen=True)
class Leg:
    """One run, measured."""

    name: str
    figures: dict[str, str]
    troubles: list[str]


@click.command(help=__doc__)
@click.argument("legs", nargs=-1, type=click.Choice(["live", "film"]))
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--scale", default=1, show_default=True, help="As of fsr-run.")
@click.option("--rate", default=30, show_default=True, help="Frames a second.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the files there.")
def main(legs: tuple[str, ...], minutes: float, scale: int, rate: int, folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="fsr-soak-") as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        runs = {"live": live, "film": film}
        made = [runs[leg](place, minutes * 60, scale, rate) for leg in legs or runs]
    console = Console()
    for leg in made:
        table = Table("", leg.name, box=None)
        for figure in leg.figures.items():
            table.add_row(*figure)
        console.print(table)
        for trouble in leg.troubles:
            console.print(f"{leg.name}: {trouble}", style="red")
    sys.exit(int(any(leg.troubles for leg in made)))


def live(place: Path, seconds: float, scale: int, rate: int) -> Leg:
    """The test scene, at the pace of a camera."""
    uri = f"test://?faces={FACES}&size={SIZE_WH[0]}x{SIZE_WH[1]}&fps={rate}&seconds={seconds:g}"
    out = place / "live.mp4"
    summary, memory = watched(["-i", uri, "-o", str(out), "--headless"], scale)
    shown, warm = ends(out)["video"], warm_up(seconds)
    dropped = gaps(out, rate, warm)
    figures = {
        "frames": f"{summary['done']}, {summary['dropped']} dropped, {dropped} of them after {warm:.0f} s",
        "latency": f"{summary['latency_ms'][0]:.0f} ms, 95% within {summary['latency_ms'][1]:.0f} ms",
        "last frame": f"at {shown:.3f} s, expected {seconds - 1 / rate:.3f} s",
        **memory_figures(memory),
    }
    troubles = memory_troubles(memory)
    if dropped or summary["failed"]:
        troubles.append(f"{dropped} frames dropped after the warm-up, {len(summary['failed'])} failed, expected none")
    if abs(shown - (seconds - 1 / rate)) > 1.5 / rate:
        troubles.append("the last frame is not at the end")
    return Leg("live", figures, troubles)


def film(place: Path, seconds: float, scale: int, rate: int) -> Leg:
    """A video with sound."""
    source, out = make_film(place / "film.mp4", seconds, rate), place / "restored.mp4"
    started = time.monotonic()
    summary, memory = watched(["-i", str(source), "-o", str(out)], scale)
    taken = time.monotonic() - started
    before, after = ends(source), ends(out)
    drift = (after["audio"] - after["video"]) - (before["audio"] - before["video"])
    figures = {
        "frames": f"{summary['done']} in {taken:.0f} s, {summary['done'] / taken:.1f} a second",
        "last picture": f"{after['video']:.3f} s, of the source {before['video']:.3f} s",
        "last sound": f"{after['audio']:.3f} s, of the source {before['audio']:.3f} s",
        "drift": f"{1e3 * drift:.3f} ms",
        **memory_figures(memory),
    }
    troubles = memory_troubles(memory)
    if summary["done"] != round(before["frames"]) or summary["failed"]:
        troubles.append(f"{summary['done']} of {before['frames']:.0f} frames, {len(summary['failed'])} failed")
    if after["packets"] != before["packets"]:
        troubles.append(f"{after['packets']:.0f} packets of sound, expected {before['packets']:.0f}")
    if abs(drift) > DRIFT:
        troubles.append(f"sound and pictures drifted apart by {1e3 * drift:.1f} ms")
    return Leg("film", figures, troubles)


def watched(arguments: list[str], scale: int) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """A run's summary, and (seconds, MB) of it and of what it started, all together."""
    options = ["--tier", "S", "--scale", str(scale), "--json", "--quiet"]
    program = [sys.executable, "-c", "from fsr.runtime.cli import main\nif __name__ == '__main__': main()"]
    with subprocess.Popen([*program, *arguments, *options], stdout=subprocess.PIPE, text=True) as process:
        started, memory = time.monotonic(), []
        while process.poll() is None:
            parts = [resident_megabytes(one) for one in family(process.pid)]
            memory.append((time.monotonic() - started, sum(part for part in parts if part is not None)))
            try:
                process.wait(EVERY)
            except subprocess.TimeoutExpired:
                continue
        assert process.stdout is not None
        said = process.stdout.read()
    if not said.startswith("{"):
        sys.exit(f"fsr-run ended with exit code {process.returncode} and said {said!r}")
    return json.loads(said), memory


def family(process: int) -> Iterator[int]:
    """It, its children and theirs."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                yield from family(int(child))
        except OSError:  # it has just ended
            continue


def warm_up(seconds: float) -> float:
    """Of a run that long: seconds in which memory may grow and frames be dropped."""
    return min(60.0, seconds / 5)


def settled(memory: list[tuple[float, float]]) -> list[float]:
    """MB after the warm-up; the last look may come when the run is being taken apart."""
    return [megabytes for seconds, megabytes in memory[:-1] if seconds >= warm_up(memory[-1][0])]


def memory_figures(memory: list[tuple[float, float]]) -> dict[str, str]:
    kept = settled(memory)
    if len(kept) < 4:
        return {"memory": "too few looks"}
    return {
        "memory": f"{kept[0]:.0f} MB after the warm-up, {kept[-1]:.0f} MB at the end, {max(kept):.0f} MB at most",
        "growth": f"{growth(kept):+.1%} from the first third to the last",
    }


def memory_troubles(memory: list[tuple[float, float]]) -> list[str]:
    kept = settled(memory)
    if len(kept) < 4:
        return []
    return [f"memory grew by {growth(kept):.1%}, expected less than {GROWTH:.0%}"] if growth(kept) > GROWTH else []


def growth(kept: list[float]) -> float:
    third = max(1, len(kept) // 3)
    return float(np.median(kept[-third:]) / np.median(kept[:third])) - 1


def ends(path: Path) -> dict[str, float]:
    """Seconds at which the last packet of each kind begins, and how many there are."""
    last, count = {"video": 0.0, "audio": 0.0}, {"video": 0, "audio": 0}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                last[packet.stream.type] = max(last[packet.stream.type], float(packet.pts * packet.time_base))
                count[packet.stream.type] += 1
    return {**last, "frames": count["video"], "packets": count["audio"]}


def gaps(path: Path, rate: int, start: float) -> int:
    """Frames that are missing between others after `start`."""
    with av.open(str(path)) as container:
        shown = sorted(float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size)
    return sum(round((late - early) * rate) - 1 for early, late in pairwise(shown) if early >= start)


def make_film(path: Path, seconds: float, rate: int) -> Path:
    """The scene over and over, encoded once, and a tone that rises."""
    packets = encoded_scene(rate)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = *SIZE_WH, "yuv420p"
        video.codec_context.time_base = Fraction(1, rate)
        sound = container.add_stream("aac", rate=SOUND_RATE)
        frames, heard = round(seconds * rate), 0
        container.start_encoding()
        for number in range(frames):
            turn, place = divmod(number, len(packets))
            data, pts, dts, is_key = packets[place]
            packet = av.Packet(data)
            packet.pts, packet.dts = pts + turn * len(packets), dts + turn * len(packets)
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, rate), is_key, video
            container.mux(packet)
            while heard < (number + 1) * SOUND_RATE // rate:
                moments = np.arange(heard, heard + 1024) / SOUND_RATE
                tone = av.AudioFrame.from_ndarray(np.sin(2e3 * moments).astype(np.float32)[None] / 4, "fltp", "mono")
                tone.sample_rate, tone.pts = SOUND_RATE, heard
                container.mux(sound.encode(tone))
                heard += 1024
        container.mux(sound.encode(None))
    return path


def encoded_scene(rate: int) -> list[tuple[bytes, int, int, bool]]:
    """Packets of one turn: bytes, pts, dts, whether a key frame; in frames."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *SIZE_WH, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, rate), Fraction(rate)
    encoder.options = {"preset": "veryfast", "bf": "0"}
    scene = TestScene(faces=FACES, size_wh=SIZE_WH, rate=Fraction(rate), seconds=SCENE_SECONDS)
    made = []
    for number, pixels in enumerate(scene.frames()):
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        frame.pts = number
        made += encoder.encode(frame)
    return [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in [*made, *encoder.encode(None)]]


if __name__ == "__main__":
    main()
