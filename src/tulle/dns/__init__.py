"""Names that resolve: Consul's forms of names, and the mesh's own, answered from what the registry and the mesh know."""
