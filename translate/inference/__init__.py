"""From trained networks to pictures: export to ONNX, the Translator, tiling, the batch engine.

Running an ONNX model imports neither torch nor anything that trains. Importing this package loads nothing.
"""
