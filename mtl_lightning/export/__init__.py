"""A run as a folder that other programs can use: ONNX, ``torch.export``, weights, transforms and a manifest."""
