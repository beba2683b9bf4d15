"""Whether an engine's int8 arithmetic is right on this processor.

Older x86 processors multiply int8 in pairs whose sum saturates at 16 bits. Engines use that where there is no VNNI:
faces come out wrong, and nothing says so. On an emulated Haswell and Skylake ONNX Runtime gave a 25th of the sums of
`INT8_PROBE`; OpenVINO, on the Haswell, all of them.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np

from ..machine import this_machine
from .opening import open_network

INT8_PROBE = zlib.decompress(
    base64.b85decode(
        "c-rlpF>ljA6vyrOk~l9wQ=^J*SQ#w=wOy$Q2@!=1l~o~uI<Z7<bu<x)ZES~DU7E79GUo%aGO+O>5HlB_OA^&J*|Pj!baC?TJ?H)JewWF"
        "5y8hz#OeLGD!?AzH4azS4;B;`_ZXCyckVIj^t!-ivkH;OQqjl6yWv152qNP})DL;Q0g?`#*ul*#o8dOQcU3I2b=zx~zshXrb+9P(!<4|"
        "M<(ImC|!ytX$e(-kU2kG#V9}NTU$Fxt&)2oR!In!?S_@~vZmsCIJ!?QtZ6AJ^LP<5V=7`5!@3o@)GG5=zi>?-qW_bI<M<q1ahGz>o5LY"
        "KH$J9O_Oj{`pHCj&p?Vnww1dORc<Ww4l!CT;dkyo*K3zRAMvT&q*8^(ie+-=xS=oHCV8kxFM>l}@hGkt&^Xm9|vr$nu<(J#@?W&|T8yt"
        "n8s%rp_%==dP>H&DFV5om;N%nN;V>BHg^mMlu;E#oG30F}a$==KkANiUTG>%_t5}xb>%|o4PiCwY2UHvfi)S)!lY|w;>Bz$XX}M`gSM|"
        "p1FGP9B+Df1uL~{SgC;!@B@Cp5BLE;;0OGG9~k%nKi~)afFJM!e!vg-fq@_J1Af2{_yIrQ2mHXm5BLE;;AgW|_+XH`{9w>+)Zi&Rf$$X"
        "mA7NR*5BLE;;0OGGAMgWy-~m722mF8^@B@Cp5BLE;SQhXDe!vg-0YBge{D2?ugGB&8;0OF{#AAI`b+e^*vsPr@R8^Get4$8;i6}?w%AR"
        "PRsr<*RrU=gZl6k6PZ3!W=lb*-2oBeax9{YLmqqlH49{YX}9xWWM$9i9?$M4OXhJlZ0N3R&$q#5cPs_6B6XeW;;Yk`&psEYto40S%bjF"
        "i^>zo;+`od"
    )
)
"""An ONNX file of three convolutions with the largest weights there are, of int8, uint8 and int8, placed as fsr-export
does: from `image`, uint8 (N, 7, 7, 3), to `sums`, float32 (N, 32, 1, 1). `tests/test_precision.py` makes it anew."""

LARGEST = 127
SUM = 27 * (16 * 9) * (32 * 9) * LARGEST**4
"""Of every even channel of `sums` for a picture of `LARGEST`; of every odd one, the negative."""

SATURATES = "its int8 saturates on this processor"

DOT_PRODUCTS = frozenset({"VNNI", "AMX", "NEON dotprod", "NEON i8mm"})
"""Vector extensions that multiply int8 faster than float32."""


def why_not_int8(engine: str) -> str | None:
    """Why int8 should not be chosen for `engine` on this machine; None where it is exact and fast.

    Decided by what the processor has and computes, never by time, so that one machine always gives one answer.

    Raises:
        EngineUnavailableError: the engine is not here.
    """
    if not int8_is_exact(engine):
        return SATURATES
    extensions = this_machine().vector_extensions
    if extensions is not None and not DOT_PRODUCTS & set(extensions):
        return f"this processor has none of {', '.join(sorted(DOT_PRODUCTS))}, which make int8 fast"
    return None


def int8_is_exact(engine: str) -> bool:
    """Run `INT8_PROBE`.

    Raises:
        EngineUnavailableError: the engine is not here.
    """
    network = open_network(engine, INT8_PROBE, "int8")
    (sums,) = network(np.full((1, 7, 7, 3), LARGEST, np.uint8)).values()
    return bool(np.allclose(sums.reshape(-1, 2), [SUM, -SUM], rtol=1e-2))  # to a step of its output
