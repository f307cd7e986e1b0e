"""From clips to frames: the encoders, and how clips are decoded. A new encoder: a module, and a case in registry.py."""

import os

# Read when ONNX Runtime is imported: no usage statistics, which it would also keep in the home folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
