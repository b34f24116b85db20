"""What the functions share: the domain, the use cases, the storage and the gateway."""
