"""Inference engines, opened by name; importing this imports none of them."""

from .choice import AUTO, DETECTOR_INT8_ENGINES, Choice, choose_engine
from .engine import Engine
from .fake import FakeEngine
from .network import Network, NetworkOpener
from .opening import OPENERS, open_engine, open_network
from .upscaler import Upscaler

__all__ = [
    "AUTO",
    "DETECTOR_INT8_ENGINES",
    "OPENERS",
    "Choice",
    "Engine",
    "FakeEngine",
    "Network",
    "NetworkOpener",
    "Upscaler",
    "choose_engine",
    "open_engine",
    "open_network",
]
