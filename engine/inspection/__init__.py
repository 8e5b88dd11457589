"""What a set of images is made of: sizes, brightness, shortcuts, copies, leaks and doubtful labels."""
