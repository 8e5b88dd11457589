"""A trained run handed on: SavedModel, LiteRT, ONNX and joblib, each checked against the run it is made of."""
