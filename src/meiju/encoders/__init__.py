"""From clips to frames: the encoders, and how clips are decoded. Importing the package itself imports none of them."""
