"""Where in an image a run finds what it predicts: drawn on the image file, measured, and checked."""
