"""From trained networks to pictures: export to ONNX, the Translator, tiling, the batch engine.

Running an ONNX model imports neither torch nor anything that trains. Importing this package loads nothing.

ONNX Runtime reports its use to its makers unless this variable is set before it is imported.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
