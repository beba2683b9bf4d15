"""Which engine runs in which precision, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import EngineUnavailableError
from .int8 import SATURATES, int8_is_exact, why_not_int8
from .onnx_runtime import CUDA, import_onnxruntime
from .opening import OPENERS, open_network
from .plan_choice import PRECISIONS, Files, choose_flavour, choose_plans, require_flavour
from .speeds import BENCH, TIE, kept_speeds, rank, refusal
from .tensorrt import TensorRtNetwork
from .trt_library import FLAVOURS

AUTO = "auto"

INT8_ENGINES = ("onnxruntime", "openvino")
"""The engines of a CPU where none was timed, fastest first for faces in int8: OpenVINO takes .96 to 1.43 times the CPU
time of ONNX Runtime for tier L, and 1.5 to 2.7 times for S; measured with 1, 4 and 16 faces."""

DETECTOR_INT8_ENGINES = ("openvino",)
"""Those likely to gain from int8 for the detector where none was timed: OpenVINO is 1.4 times as fast as ONNX Runtime
in fp32, which in int8 is no faster than that, and with AVX2 alone slower; measured at 1280x736."""

PREPARE_ANEW = frozenset({"openvino"})
"""Those that prepare a network anew at every size of picture: OpenVINO for 20 ms, more than it saves where sizes vary,
and the detector is timed at one. It takes 60 MB more, too. So it finds faces only where it is asked for by name."""

PROBE = bytes.fromhex(
    "080812086673722d656467653a630a170a05696d616765120473616d6522084964656e74697479120570726f62655a200a05"
    "696d61676512170a15080212110a0312014e0a0208010a0208010a020803621f0a0473616d6512170a15080212110a031201"
    "4e0a0208010a0208010a02080342040a00100d"
)
"""An ONNX file: the identity of uint8 (N, 1, 1, 3), from `image` to `same`."""


TOLD = 3
"""Times that are said with a choice."""


@dataclass(frozen=True)
class Choice:
    """An engine that works here, and the precision of the models to run with it."""

    engine: str
    why: str
    """A clause, such as `no CUDA provider in this onnxruntime`."""
    precision: str = "fp32"
    why_precision: str = "asked for"
    """A clause, such as `computed correctly here`."""

    def __str__(self) -> str:
        return f"{self.engine} ({self.why}), {self.precision} ({self.why_precision})"


def choose_engine(
    name: str = AUTO,
    precision: str = "fp32",
    offered: Collection[str] = ("fp32",),
    int8_engines: Sequence[str] = INT8_ENGINES,
    models: Sequence[Files] = (),
    bundle: Path | None = None,
    candidates: Collection[str] = tuple(OPENERS),
) -> Choice:
    """The engine called `name` once it has proved that it runs here, and the precision it should run in.

    `auto` takes TensorRT where plans of all `models` passed their gate on this GPU, in the precision that was measured
    fastest; else what `fsr-export bench` found fastest here of all that passed. Where it was not run: ONNX Runtime on a
    GPU if that works; on a CPU the first there is of `int8_engines` in int8 and ONNX Runtime else: in float32 OpenVINO
    needs 1.2 to 1.4 times as long for the detector and as long for faces, measured.

    precision: fp32, fp16, int8, or `auto`, which is chosen likewise: where nothing was timed int8 on a CPU where it is
    among the precisions `offered` and is exact and fast, fp32 everywhere else. int8_engines: those that gain from it,
    fastest first. models: the files of each, by precision; without them nothing is known of plans and times. bundle:
    theirs, where it is not the package's own. candidates: engines that `auto` may take by their times.

    Raises:
        EngineUnavailableError: no engine of that name, or it cannot run here, or its int8 is wrong here.
    """
    precisions = PRECISIONS if precision == AUTO else (precision,)
    if name in FLAVOURS:
        return _planned(name, precisions, models, bundle)
    why_planned = ""
    if name == AUTO and models:
        flavour, best, why_planned = choose_flavour(models, precisions, bundle)
        if flavour is not None:
            return Choice(flavour, "its plans are for this GPU", best, why_planned)
    runs, clause = kept_speeds()
    timed = f"{clause}; {BENCH} times it anew" if clause and not runs else f"not timed: {BENCH} does"
    if AUTO in (name, precision):
        ranked = rank(models, precisions, [name] if name != AUTO else candidates, runs)
        if fastest := _fastest(name, precision, ranked):
            return fastest
    if name != AUTO:
        open_network(name, PROBE)
        why = "asked for by name"
    else:
        works, why = _cuda()
        why = "; ".join(filter(None, [why_planned, why]))
        name = "onnxruntime-cuda" if works else AUTO

    def why_not(engine: str) -> str | None:
        return refusal(models, engine, "int8", runs) or why_not_int8(engine)

    choice = _untimed(name, why, precision, offered, int8_engines, why_not, timed)
    failed = refusal(models, choice.engine, choice.precision, runs)
    return replace(choice, why_precision=f"{choice.why_precision}; {failed}") if failed else choice


def require_engine(name: str) -> str:
    """Prove that the engine of that name runs here, whatever model it will be given, and return on what.

    Raises:
        EngineUnavailableError: no engine of that name, or something that it needs is missing.
    """
    if name in FLAVOURS:
        require_flavour(name)
        return TensorRtNetwork.device
    return open_network(name, PROBE).device


def choose_detector(name: str, precision: str, offered: Collection[str] | Files, bundle: Path | None = None) -> Choice:
    """The engine and precision of the detector, for the `name` and `precision` that the models were asked for in.

    As `choose_engine`, but for what `PREPARE_ANEW` names, which is taken by name alone; so is, where nothing was timed,
    int8. Of TensorRT it takes a plan that is there; without one the detector stays with ONNX Runtime, and says so.
    """
    models = [offered] if isinstance(offered, Mapping) else []
    if name in FLAVOURS:
        try:
            least = 0 if precision == AUTO else PRECISIONS.index(precision)  # what is asked for, or more exact
            return _planned(name, PRECISIONS[least:], models, bundle)
        except EngineUnavailableError as error:
            return Choice("onnxruntime", "on the CPU", "fp32", str(error))
    kind = "fp32" if precision == "fp32" or (precision != AUTO and precision not in offered) else precision
    engines = DETECTOR_INT8_ENGINES if name != AUTO else ()
    candidates = [engine for engine in OPENERS if engine not in PREPARE_ANEW]
    return choose_engine(name, AUTO if kind == "int8" else kind, offered, engines, models, None, candidates)


def _planned(flavour: str, precisions: Sequence[str], models: Sequence[Files], bundle: Path | None) -> Choice:
    """TensorRT by name, in the one of `precisions` that is fastest of those there are plans in."""
    if not models:
        require_flavour(flavour)
        return Choice(flavour, "asked for by name", precisions[-1])
    precision, why = choose_plans(flavour, models, precisions, passed=False, bundle=bundle)
    return Choice(flavour, "asked for by name", precision, why)


def _fastest(name: str, precision: str, ranked: Mapping[tuple[str, str], float]) -> Choice | None:
    """The first of what `rank` returned that runs here; None of nothing."""
    times = ", ".join(f"{engine} {kind} {ms:.3g}" for (engine, kind), ms in list(ranked.items())[:TOLD])
    for (engine, kind), milliseconds in ranked.items():
        if _runs(engine, kind):
            why = "fastest here of what passed its gate" if name == AUTO else "asked for by name"
            tie = f"; within {100 * (TIE - 1):.0f}% is equal" if milliseconds > min(ranked.values()) else ""
            return Choice(engine, why, kind, f"{'asked for; ' * (precision != AUTO)}{BENCH}: {times} ms{tie}")
    return None


def _runs(engine: str, precision: str) -> bool:
    """Whether an engine that was timed is still here, and right."""
    try:
        open_network(engine, PROBE)
        return precision != "int8" or int8_is_exact(engine)
    except EngineUnavailableError:
        return False


def _untimed(
    name: str,
    why: str,
    precision: str,
    offered: Collection[str],
    int8_engines: Sequence[str],
    why_not: Callable[[str], str | None],
    timed: str,
) -> Choice:
    """By what engines and processors do in general.

    name: `auto` stands for a CPU. why_not: what speaks against an engine's int8. timed: a clause why no time decides.

    Raises:
        EngineUnavailableError: int8 was asked for and is wrong here.
    """
    in_float = "onnxruntime" if name == AUTO else name
    on_gpu = name == "onnxruntime-cuda"
    if precision == "int8":
        engine, refusals = _first([name] if name != AUTO else INT8_ENGINES, _why_wrong)
        if engine is None:
            raise EngineUnavailableError(f"--precision int8: {'; '.join(refusals)}; take --precision fp32")
        return Choice(engine, "; ".join([why, *refusals]), "int8", "asked for")
    if precision != AUTO:
        reason = "asked for; a CPU computes it in float32" if precision == "fp16" and not on_gpu else "asked for"
        return Choice(in_float, why, precision, reason)
    if on_gpu or "int8" not in offered:
        return Choice(in_float, why, "fp32", "int8 is for CPUs" if on_gpu else "there is no int8 in the bundle")
    engine, refusals = _first([e for e in int8_engines if name in (AUTO, e)], why_not)
    if engine is None:
        refusals = refusals or [f"int8 is likely no faster with {in_float}", timed]
        return Choice(in_float, why, "fp32", "; ".join(refusals))
    return Choice(engine, "; ".join([why, *refusals]), "int8", f"computed correctly here; {timed}")


def _first(names: Sequence[str], why_not: Callable[[str], str | None]) -> tuple[str | None, list[str]]:
    """The first engine that nothing speaks against, and what spoke against those before it."""
    refusals = []
    for name in names:
        try:
            refusal = why_not(name)
        except EngineUnavailableError as error:
            refusal = str(error)
        if refusal is None:
            return name, refusals
        refusals.append(f"not {name}: {refusal}")
    return None, refusals


def _why_wrong(name: str) -> str | None:
    return None if int8_is_exact(name) else SATURATES


def _cuda() -> tuple[bool, str]:
    """Whether ONNX Runtime runs on a GPU here, and a clause that says so."""
    if CUDA not in import_onnxruntime().get_available_providers():
        return False, "no CUDA provider in this onnxruntime"
    try:
        open_network("onnxruntime-cuda", PROBE)
    except EngineUnavailableError as error:
        return False, f"the CUDA provider does not work: {error}"
    return True, "its CUDA provider works here"
