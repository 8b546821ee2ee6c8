"""Limits that documents are held to before the data plane is, so that it never has to say no."""

MAX_REGEX_PROGRAM = 32768
"""Steps of the program that a regular expression becomes (RE2). As in Istio: Envoy's own limit of 100 would refuse everyday ones."""
