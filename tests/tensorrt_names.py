"""Prints, as JSON, every name of a TensorRT module with what its documentation says it takes.

Run by `test_tensorrt_contract.py` with the Python that the module is for: no more than the standard library here.
"""

import importlib
import inspect
import json
import sys


def documented(thing: object) -> str:
    return (getattr(thing, "__doc__", None) or "")[:2000]


def main(module_name: str) -> None:
    module = importlib.import_module(module_name)
    names = {"": {name: documented(getattr(module, name)) for name in dir(module)}}
    for name, kind in inspect.getmembers(module, inspect.isclass):
        names[name] = {member: documented(getattr(kind, member, None)) for member in dir(kind)}
        for inner, nested in inspect.getmembers(kind, inspect.isclass):
            if not inner.startswith("_"):
                names[f"{name}.{inner}"] = dict.fromkeys(dir(nested), "")
    sys.stdout.write(json.dumps({"version": module.__version__, "names": names}))


main(sys.argv[1])
