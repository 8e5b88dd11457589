"""Measurements of the engine: suites, peers that it is compared with, and the tables made from them."""
