"""Image folders and files: what is found, which split it goes to, and its pixels."""
