"""The words of the mesh: frozen values that every other room speaks in.

Nothing here decides, opens, waits or knows a file format. A value is made once and never changed; a change is a new value.
"""
