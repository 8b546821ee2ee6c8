"""A small shop of sample applications, and a tour that shows on them what a mesh does."""
