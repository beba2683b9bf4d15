"""Whether an engine's int8 arithmetic is right on this processor.

Older x86 processors multiply int8 in pairs whose sum saturates at 16 bits, and engines use that where there is no VNNI.
fsr-export makes weights of which no pair reaches as far. With others, twice as large, ONNX Runtime gave a 25th of the
sums on an AVX2 processor, and nothing said so; so every engine must prove itself on the largest weights there are.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np

from ..machine import this_machine
from .opening import open_network

INT8_PROBE = zlib.decompress(
    base64.b85decode(
        "c-rlp&u-H|5XSA;Nt_9PQlpCAuyUzn38?K#AS6T-dZ-LSqC!IA61mmVSR{6^9g2F&kqcMOc?2GzkHSMB&aAx-u~paPmdiKM#>woAGvDrSb"
        "FxO$p8a0RWKq+fdgn~1>@o_@#uxq0yT}XTSr{{OhtwI1rUPl94CFy$DYwa_Lag2upFd7QFX^i<y*M#D)JVcTc_}yO2^Ht587FLZK<XunLY"
        "^7S=7}}(gXC%d&fB>cB>p9P?FY<@=#Yxj<;0el>GzJ<=W^C_YF{w_e4JRMh5?JInI^<~EBpD146{qB_tlU0q_o;Y%5P11g5Ep}gD)1>#V_"
        "VA-TK6$fK5j6*qbrFB1*a*_eezPYQ!e<zIwvn`66ZCMB!Gh)vnh1h>Fvz6j6#@r_!!cX>Y31&Q;n%rCqPm5-M#`o?Y5Qr+yEef-bwXhfbY"
        "3r%Ii(sX8ZD=LmI9y}HLjog<2L@*+F&d>U74JD~MsIY~|Z*Q?|QjE5StC_H86pO$85O8V+4!xggbuh!sZySmwsg)C%kl4brl<_FIxA3WP#"
        "91mc%b_J_75CVR{5BLE;;0OGGAMgVMKi~)afFJM!e!vg-0Y5PC1Af2{_yIrQ2mF8^82AA{;0OF{*D4<ja*7WIT}KU`$`c4r<^K_u1^j>?@"
        "B@Cp5BLE;;0GS?1Af2{_yIrQ2mF8^@PlOmKi~)afFJM!e!vg-0Y6v-@B@Cp&sIF<cUd!f@-S;f<}PGOTD;iiFdy=Al%eQ}<{Hv}%<S^utS"
        "^}>OXgiJM0C<~)$C^f9G0u@@4r7<JM1(fezkTu-0}0<$p>TAFz`O@Y7Kpd6kUEp4XvFI<@5n%Ezq(6c^zQzA*W-glGMBX7lGLehX"
    )
)
"""An ONNX file of three convolutions with the largest weights that fsr-export makes, of int8, uint8 and int8, placed as
it does: from `image`, uint8 (N, 7, 7, 3), to `sums`, float32 (N, 32, 1, 1). `tests/test_precision.py` makes it anew."""

LARGEST, WEIGHT = 127, 64
"""Of a picture's int8 and of two neighbouring weights in int8; see `calibration.int8.PAIR`."""
SUM = 27 * (16 * 9) * (32 * 9) * LARGEST * WEIGHT**3
"""Of every even channel of `sums` for a picture of `LARGEST`; of every odd one, the negative."""

SATURATES = "its int8 saturates on this processor"

FAST = frozenset({"AVX2", "VNNI", "AMX", "NEON dotprod", "NEON i8mm"})
"""Vector extensions that multiply int8 faster than float32: with AVX2 alone 1.4 to 1.9 times in ONNX Runtime, 1.1 to
1.9 in OpenVINO (tiers S and L on an AMD EPYC)."""


def why_not_int8(engine: str) -> str | None:
    """Why int8 should not be chosen for `engine` on this machine; None where it is exact and fast.

    Decided by what the processor has and computes, never by time, so that one machine always gives one answer.

    Raises:
        EngineUnavailableError: the engine is not here.
    """
    if not int8_is_exact(engine):
        return SATURATES
    extensions = this_machine().vector_extensions
    if extensions is not None and not FAST & set(extensions):
        return f"this processor has none of {', '.join(sorted(FAST))}, which make int8 fast"
    return None


def int8_is_exact(engine: str) -> bool:
    """Run `INT8_PROBE`.

    Raises:
        EngineUnavailableError: the engine is not here.
    """
    network = open_network(engine, INT8_PROBE, "int8")
    (sums,) = network(np.full((1, 7, 7, 3), LARGEST, np.uint8)).values()
    return bool(np.allclose(sums.reshape(-1, 2), [SUM, -SUM], rtol=1e-2))  # to a step of its output
