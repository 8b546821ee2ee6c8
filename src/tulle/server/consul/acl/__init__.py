"""Access control as Consul's clients know it: tokens, policies, roles, and what each request needs."""
