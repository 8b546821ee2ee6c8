"""Tulle: a load balancer and service mesh for plain machines."""

__version__ = "0.1.0"
