"""A trained run at work: probabilities, and explanations of them."""
