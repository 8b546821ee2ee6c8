"""The sample applications: each is a program of its own (`python -m tulle.demo.apps.NAME`) that needs the standard library only.

They know nothing of Tulle. They read their port from PORT, call each other through the proxy that `http_proxy` names, and pass
on the headers by which traces and rules know a request.
"""
