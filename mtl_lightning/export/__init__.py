"""Exports of a run: a folder with ONNX, a ``torch.export`` program, weights, transforms and a manifest."""
