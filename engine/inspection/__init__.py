"""Inspection of a set of images: sizes, brightness, shortcuts, copies, leaks and doubtful labels."""
