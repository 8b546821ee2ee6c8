"""Views to Envoy messages."""
