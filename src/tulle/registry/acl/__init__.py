"""Who may do what in the registry: rules as text, what they allow, and whose they are."""
