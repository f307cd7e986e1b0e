"""From clips to frames: the encoders, and how clips are decoded. Importing the package itself imports none of them."""

import os

# Read when ONNX Runtime is imported: no usage statistics, which it would also keep in the home folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
