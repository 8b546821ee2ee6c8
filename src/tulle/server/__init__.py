"""The edges: HTTP for people and programs, gRPC for proxies."""
