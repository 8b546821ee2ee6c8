"""Who may ask the HTTP API for what: roles, tokens, and the door that every request to `/api/v1` passes."""
