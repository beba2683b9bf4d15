"""Inference engines, opened by name; importing this imports none of them."""

from .choice import AUTO, Choice, choose_detector, choose_engine, require_engine
from .engine import Engine
from .fake import FakeEngine
from .network import Network, NetworkOpener
from .opening import OPENERS, open_engine, open_network
from .plan_choice import file_for
from .upscaler import Upscaler

__all__ = [
    "AUTO",
    "OPENERS",
    "Choice",
    "Engine",
    "FakeEngine",
    "Network",
    "NetworkOpener",
    "Upscaler",
    "choose_detector",
    "choose_engine",
    "file_for",
    "open_engine",
    "open_network",
    "require_engine",
]
