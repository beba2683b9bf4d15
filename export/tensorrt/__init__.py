"""Engines of TensorRT, built on the machine that will run them; needs neither torch nor onnx."""
