"""The registry: instances that tell of themselves, for as long as they renew it."""
