"""Where the mesh's state is kept: a port with revisions, compare-and-swap, leases and watches, and what implements it."""
