"""Limits that documents are held to before the data plane is, so that it never has to say no."""

MAX_REGEX_PROGRAM = 32768
"""Steps of the program that a regular expression becomes (RE2). As in Istio: Envoy's own limit of 100 would refuse everyday ones."""

FORMATTED_KEYS = "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value"
"""The switch of the data plane that lets rate limits tell requests apart by anything that it knows of them. Off unless it is set."""
